"""Decisions as timelines: what was seen, when, and what followed."""

from dataclasses import replace
from math import ceil, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharded_queue.state import Blocked, Hold, ShardState, State, TubeLag
from sharded_queue.tube import Shard
from sharded_queue_operator.scaling.decide import Decision, decide
from sharded_queue_operator.scaling.demand import Load, lanes_of
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.start_time import StartTime

SHARD = Shard("notifications.NotifyHandler")
POLICY = Policy(
    max_replicas=10, drain_seconds=30, window_seconds=60, bind_seconds=0.01, seconds_per_request={SHARD.handler: 0.1}
)
SLOW_START = History(start_time=StartTime(30.0))
"""With a start as long as D, the pace is D; and starts are too dear for workers to leave before the window."""

UNREACHABLE = Doubt("RedisUnreachable", "redis:6379 does not answer")


def state(*depths: int, listed: int = 11, shard: Shard = SHARD, **fields: object) -> ShardState:
    """A shard whose threads `t0`, `t1`, … have these depths; its storage was asked for *listed* ones."""
    threads = sorted(((f"t{index}", depth) for index, depth in enumerate(depths)), key=lambda thread: -thread[1])
    deepest = [thread for thread in threads if thread[1] > 1][:listed]
    born = fields.pop("born", 1)
    return ShardState(shard, depth=sum(depths), threads=len(depths), deepest=deepest, born=born, **fields)  # type: ignore[arg-type]


def hold(thread: str, worker: str, busy_seconds: float) -> Hold:
    return Hold(thread, f"{worker}/f00d", 1, busy_seconds)


def waiting(threads: int, seconds: float, state: State = "ready") -> list[TubeLag]:
    """The last threads of a queue of ten, none of which is in a worker's hands."""
    return [TubeLag(f"t{9 - index}", 0, 5, seconds, state) for index in range(threads)]


class Timeline:
    """Decisions one after another, each carried out before the next."""

    def __init__(self, policy: Policy = POLICY, replicas: int = 0, history: History | None = None) -> None:
        self.policy, self.replicas, self.history, self.now = policy, replicas, history or SLOW_START, 0.0

    def see(self, *shards: ShardState, doubt: Doubt | None = None, age: float = 0.0) -> Decision:
        seen = Observation(self.replicas, shards, self.now - age, doubt)
        decision = decide(seen, self.policy, self.history, self.now)
        self.history = decision.history
        if decision.replicas is not None:
            self.replicas = decision.replicas
        return decision

    def at(self, now: float, *shards: ShardState, doubt: Doubt | None = None) -> int:
        self.now = now
        self.see(*shards, doubt=doubt)
        return self.replicas

    def keep(self, until: float, *shards: ShardState, doubt: Doubt | None = None) -> int:
        """See the same each second up to and including *until*."""
        while self.now < until:
            self.at(self.now + 1, *shards, doubt=doubt)
        return self.replicas


def test_flat_work_asks_for_its_seconds_over_the_drain_time() -> None:
    # 20 threads * (0.1 s * 60 + 0.01 s) / 30 s = 4.007 lanes
    assert Timeline().at(0, state(*[60] * 20, listed=11)) == 5


def test_a_deep_thread_is_one_lane_however_deep() -> None:
    # 1 + 99 * (0.1 * 3 + 0.01) / 30 = 2.02 lanes; by messages it would be the maximum
    assert Timeline().at(0, state(100_000, *[3] * 99)) == 3


def test_first_requests_go_from_none_to_all_in_one_step() -> None:
    assert Timeline().see(state(*[10_000] * 30)).replicas == 10


def test_more_workers_than_threads_are_of_no_use() -> None:
    assert Timeline().at(0, state(10_000, 10_000)) == 2


def test_threads_that_wait_for_an_old_layout_ask_for_no_workers() -> None:
    """One thread of the old layout, and 20 of the new one that nobody can hold before it is drained."""
    old, parked = 10_000, 20
    seen = ShardState(SHARD, depth=old + 20 * 500, threads=1 + parked, deepest=[("1:0", old)], parked=parked, born=1)

    assert Timeline().at(0, replace(seen, parked_depth=20 * 500)) == 1
    assert Timeline().at(0, seen) == 1
    assert Timeline().at(0, replace(seen, parked=0)) == 10


def test_threads_per_replica_share_the_lanes() -> None:
    # 4.007 lanes over 4 threads a worker
    assert Timeline(replace(POLICY, threads_per_replica=4)).at(0, state(*[60] * 20)) == 2


def test_an_empty_queue_asks_for_the_minimum() -> None:
    assert Timeline(Policy(min_replicas=2)).at(0, state()) == 2


def test_one_request_asks_for_one_worker() -> None:
    assert Timeline().at(0, state(1)) == 1


def test_a_thread_held_for_the_drain_time_is_a_lane_even_when_shallow() -> None:
    """Threads that are fed for ever take a worker each; the singles behind them get their own."""
    fed = [hold(f"t{index}", f"pod-{index}", 30.0) for index in range(4)]

    assert Timeline().at(0, state(*[2] * 4, *[1] * 20, held=fed)) == 5


def test_a_held_thread_that_is_not_listed_is_counted_once() -> None:
    # one request each: none is listed; 1 + 1 * (0.1 + 0.01) / 30
    seen = state(1, 1, held=[hold("t0", "pod-0", 30.0)])

    assert lanes_of([Load(seen, 0.1, {"t0"})], 1, 30.0, POLICY) == pytest.approx(1 + 0.11 / 30)


def test_a_thread_held_for_twice_what_it_asked_for_is_a_lane() -> None:
    """Five requests of 0.1 s; a worker that still has five of them after 2 s is fed while it works."""
    timeline = Timeline()
    timeline.at(0, state(5, 5, held=[hold("t0", "pod-0", 0.5)]))  # asks for 0.5 + 0.1 * 5 + 0.01 s

    assert timeline.at(1, state(5, 5, held=[hold("t0", "pod-0", 1.5)])) == 1
    assert timeline.at(2, state(5, 5, held=[hold("t0", "pod-0", 2.5)])) == 2


def test_a_thread_held_for_less_than_a_second_is_not_endless() -> None:
    timeline = Timeline()
    timeline.at(0, state(1, 1, held=[hold("t0", "pod-0", 0.0)]))  # asks for 0.11 s

    assert timeline.at(1, state(1, 1, held=[hold("t0", "pod-0", 0.9)])) == 1


def test_a_deep_thread_that_is_being_emptied_is_not_endless() -> None:
    """It asks for its 10 s when it is bound, and keeps its worker for 10 s."""
    timeline = Timeline()
    wishes = [timeline.at(n, state(100 - 10 * n, 5, held=[hold("t0", "pod-0", n)])) for n in range(10)]

    assert wishes == [1] * 10


def test_a_thread_that_was_emptied_and_filled_again_is_judged_anew() -> None:
    timeline = Timeline()
    timeline.at(0, state(1, 1, held=[hold("t0", "pod-0", 2.0)]))
    timeline.at(5, state(40, 1, held=[hold("t0", "pod-0", 1.0)]))  # asks for 1 + 4 s now

    assert timeline.at(10, state(5, 1, held=[hold("t0", "pod-0", 6.0)])) == 1


def test_a_thread_in_other_hands_is_judged_anew() -> None:
    timeline = Timeline()
    timeline.at(0, state(1, 1, held=[hold("t0", "pod-0", 0.5)]))
    timeline.at(1, state(40, 1, held=[hold("t0", "pod-1", 0.6)._replace(fence=2)]))

    assert timeline.at(4, state(10, 1, held=[hold("t0", "pod-1", 3.6)._replace(fence=2)])) == 1


def test_once_a_thread_has_waited_each_endless_one_stands_for_one_that_waits() -> None:
    """Endless threads are found out in doublings, not one after another."""
    fed = [hold("t0", "pod-0", 30.0), hold("t1", "pod-1", 30.0)]

    assert Timeline(replicas=3).at(0, state(*[5] * 10, held=fed, ready=8, oldest=waiting(8, 29.0))) == 3
    assert Timeline(replicas=3).at(0, state(*[5] * 10, held=fed, ready=8, oldest=waiting(8, 30.0))) == 5


def test_no_more_lanes_are_added_than_threads_have_waited() -> None:
    fed = [hold(f"t{index}", f"pod-{index}", 30.0) for index in range(4)]

    assert Timeline().at(0, state(*[5] * 6, held=fed, ready=2, oldest=waiting(1, 40.0))) == 6


def test_a_blocked_thread_is_not_taken_for_one_that_waits() -> None:
    fed = [hold("t0", "pod-0", 30.0)]

    assert Timeline().at(0, state(5, 5, 5, held=fed, ready=1, blocked=1, oldest=waiting(1, 40.0, "blocked"))) == 2


def test_threads_that_waited_while_none_is_endless_ask_for_what_they_hold() -> None:
    """A queue that is emptied as planned is not hurried at its end."""
    assert Timeline().at(0, state(*[60] * 20, ready=20, oldest=waiting(20, 40.0))) == 5


def test_a_delayed_request_whose_time_came_asks_for_a_worker() -> None:
    """Without any worker, nobody would put it into its tube."""
    assert Timeline().at(0, state(delayed=3)) == 0
    assert Timeline().at(0, state(delayed=3, overdue=1)) == 1


def test_a_paused_queue_asks_for_nobody() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 5))

    assert timeline.keep(61, state(*[10_000] * 5, is_paused=True)) == 0
    assert timeline.at(62, state(*[10_000] * 5)) == 5


def test_what_is_paused_is_told() -> None:
    """Else nobody would see why requests wait without workers."""
    paused = [state(3, shard=Shard(name, index, 2), is_paused=True) for name in ("a", "b") for index in (0, 1)]

    assert (
        Timeline().see(state(3), *paused[:2]).message
        == "9 requests in 3 threads (a is paused) ask for 1 worker; there are 0"
    )
    assert Timeline().see(*paused).message == "12 requests in 4 threads (2 handlers are paused) ask for 0 workers"


# Threads that nobody may bind


def blocked(*threads: Blocked, free: int = 0) -> ShardState:
    """These threads are blocked, and *free* further ones have a request each."""
    deepest = sorted(((each.thread, each.depth) for each in threads if each.depth > 1), key=lambda pair: -pair[1])
    depth = free + sum(each.depth for each in threads)
    total, listed = free + len(threads), list(threads)
    return ShardState(SHARD, depth, total, free, 0, len(threads), 0, deepest, born=1, blocked_threads=listed)


def test_paused_threads_ask_for_nobody() -> None:
    paused = [Blocked(f"t{number}", 1_000, inf) for number in range(20)]
    timeline = Timeline(replicas=3)

    assert timeline.keep(61, blocked(*paused)) == 0
    assert timeline.see(blocked(*paused)).message.startswith("20,000 requests in 20 threads (20 of them blocked)")
    assert Timeline().at(0, blocked(*paused, free=1)) == 1


def test_threads_that_are_paused_without_a_request_take_no_worker_from_others() -> None:
    """They count as blocked, though they are not among the threads with requests."""
    assert Timeline().at(0, state(*[10_000] * 3, ready=3, blocked=5)) == 3


def test_a_thread_that_backs_off_asks_for_a_worker_once_it_is_due_within_a_start() -> None:
    timeline = Timeline(history=History(start_time=StartTime(2.0)))
    wishes = [timeline.at(at, blocked(Blocked("t0", 50, 5.0 - at))) for at in (0, 1, 2, 3, 4, 5)]

    assert wishes == [0, 0, 0, 1, 1, 1]


def test_threads_that_back_off_ask_for_their_next_try_and_not_for_all_that_waits() -> None:
    """A handler that always fails once kept twelve workers for a try a minute of each thread."""
    due = [Blocked(f"t{number}", 50, 0.5) for number in range(100)]

    # 100 * (0.1 + 0.01) s of work in 30 s; 100 * (0.1 * 50 + 0.01) s would be 17 lanes
    assert Timeline().see(blocked(*due)).lanes == pytest.approx(100 * 0.11 / 30)


def test_a_thread_that_was_blocked_asks_for_all_that_waits_once_it_has_been_free_for_the_drain_time() -> None:
    timeline = Timeline()
    timeline.at(0, blocked(*(Blocked(f"t{number}", 900, 5.0) for number in range(8))))
    freed = state(*[900] * 8, ready=8)

    assert [timeline.at(at, freed) for at in (6, 29, 30)] == [1, 1, 8]


def test_blocked_threads_do_not_count_for_those_that_wait_behind_endless_ones() -> None:
    """Two threads wait for a worker beside twenty that are paused: these once hid the two."""
    fed = [hold("t0", "pod-0", 30.0), hold("t1", "pod-1", 30.0)]
    paused = [Blocked(f"p{number}", 5, inf) for number in range(20)]
    seen = state(*[5] * 24, held=fed, bound=2, ready=2, blocked=20, blocked_threads=paused, oldest=waiting(2, 30.0))

    assert Timeline(replicas=3).at(0, seen) == 4


def test_handlers_of_one_resource_add_up_each_with_its_own_seconds() -> None:
    slow, fast = Shard("slow"), Shard("fast")
    policy = replace(POLICY, seconds_per_request={"slow": 1.0, "fast": 0.001}, max_replicas=100)
    # slow: 10 threads * min(1, 30.01 / 30) = 10; fast: 100 * (0.1 + 0.01) / 30 = 0.37
    decision = Timeline(policy).see(
        state(*[30] * 10, listed=101, shard=slow), state(*[100] * 100, listed=101, shard=fast)
    )

    assert decision.lanes == pytest.approx(10 + 100 * 0.11 / 30)
    assert decision.replicas == 11


@given(
    depths=st.lists(st.integers(1, 2_000), max_size=80),
    maximum=st.integers(1, 30),
    threads_per_replica=st.integers(1, 4),
    seconds=st.floats(0.001, 5.0),
)
def test_the_list_of_deepest_threads_gives_what_all_depths_would(
    depths: list[int], maximum: int, threads_per_replica: int, seconds: float
) -> None:
    """A list of one place more than the lanes loses nothing, however many threads there are."""
    policy = Policy(
        max_replicas=maximum,
        threads_per_replica=threads_per_replica,
        drain_seconds=10,
        seconds_per_request={SHARD.handler: seconds},
    )
    lanes = sum(min(1.0, (seconds * depth + policy.bind_seconds) / policy.drain) for depth in depths)
    useful = min(maximum, ceil(len(depths) / threads_per_replica))
    expected = min(ceil(lanes / threads_per_replica - 1e-9), useful)

    assert Timeline(policy).at(0, state(*depths, listed=policy.lanes + 1)) == expected


def test_replicas_fall_only_after_the_whole_window() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 10))

    assert timeline.keep(59, state()) == 10
    assert timeline.keep(60, state()) == 0


def test_replicas_fall_to_the_highest_wish_of_the_window() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 10))
    timeline.keep(30, state())
    timeline.at(31, state(*[10_000] * 4))

    assert timeline.keep(60, state()) == 4
    assert timeline.keep(90, state()) == 4
    assert timeline.keep(91, state()) == 0


def test_a_window_is_never_shorter_than_the_drain_time() -> None:
    timeline = Timeline(Policy(drain_seconds=30, window_seconds=0, seconds_per_request={SHARD.handler: 0.1}))
    timeline.at(0, state(10_000))

    assert timeline.keep(29, state()) == 1
    assert timeline.keep(30, state()) == 0


def test_replicas_rise_within_the_window() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 4))
    timeline.keep(10, state())

    assert timeline.at(11, state(*[10_000] * 7)) == 7


def test_workers_that_hold_threads_are_not_taken_away() -> None:
    """Three workers in the middle of a long batch stay, though the queue asks for one."""
    busy = [hold(f"t{index}", f"pod-{index}", 5.0) for index in range(3)]
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 10))

    assert timeline.keep(100, state(1, 1, 1, held=busy)) == 3
    assert timeline.keep(200, state(1, 1, 1, held=busy[:2])) == 2


def test_holds_that_are_not_listed_may_be_those_of_any_worker() -> None:
    busy = [hold("t0", "pod-0", 1.0)]
    timeline = Timeline(replicas=4)
    timeline.keep(100, state(1, 1, 1, held=busy, bound=3))
    assert timeline.replicas == 3
    timeline.keep(200, state(1, 1, 1, held=busy, bound=20_000))
    assert timeline.replicas == 3
    timeline.keep(300, state(1, 1, 1, held=busy, bound=1))
    assert timeline.replicas == 1


def test_a_worker_that_holds_several_threads_counts_once() -> None:
    busy = [hold("t0", "pod-0", 5.0), hold("t1", "pod-0", 5.0), hold("t2", "pod-1", 0.0)]
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 10))

    assert timeline.keep(100, state(1, 1, held=busy)) == 1


def test_a_restarted_operator_waits_a_window_before_it_takes_away() -> None:
    timeline = Timeline(replicas=8)

    assert timeline.keep(60, state()) == 8
    assert timeline.keep(61, state()) == 0


def test_replicas_set_by_somebody_else_are_put_right() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 3))
    timeline.keep(5, state(*[10_000] * 3))
    timeline.replicas = 9
    assert timeline.at(6, state(*[10_000] * 3)) == 3
    timeline.replicas = 0
    assert timeline.at(7, state(*[10_000] * 3)) == 3


def test_unknown_changes_nothing_for_however_long() -> None:
    timeline = Timeline(replicas=7)
    decision = timeline.see(doubt=UNREACHABLE)

    assert decision.replicas is None
    assert decision.reason == "RedisUnreachable"
    assert decision.wish is None
    assert timeline.keep(1_000, doubt=UNREACHABLE) == 7


def test_after_an_outage_the_window_begins_anew() -> None:
    timeline = Timeline(replicas=7)
    timeline.keep(100, doubt=UNREACHABLE)

    assert timeline.keep(159, state()) == 7
    assert timeline.keep(160, state()) == 0


def test_a_moment_of_doubt_interrupts_the_known_reads() -> None:
    """With polls longer than the window, three known reads in a row are still needed."""
    timeline = Timeline(Policy(drain_seconds=1, window_seconds=1), replicas=5)

    assert timeline.at(0, state()) == 5
    assert timeline.at(10, state()) == 5
    assert timeline.at(20, doubt=UNREACHABLE) == 5
    assert timeline.at(30, state()) == 5
    assert timeline.at(40, state()) == 5
    assert timeline.at(50, state()) == 0


def test_the_fallback_only_raises() -> None:
    policy = Policy(fallback_replicas=4)

    assert Timeline(policy, replicas=1).at(0, doubt=UNREACHABLE) == 4
    assert Timeline(policy, replicas=6).at(0, doubt=UNREACHABLE) == 6


def test_a_part_of_the_answer_can_raise_but_not_lower() -> None:
    partial = Doubt("PartialAnswer", "shard 1 did not answer")

    assert Timeline(POLICY, replicas=2).at(0, state(*[10_000] * 5), doubt=partial) == 5
    assert Timeline(POLICY, replicas=8).keep(500, state(*[10_000] * 5), doubt=partial) == 8


def test_an_old_read_is_no_read() -> None:
    decision = Timeline(replicas=3).see(state(*[10_000] * 9), age=11)

    assert decision.replicas is None
    assert decision.reason == "StaleObservation"
    assert "11 s ago" in decision.message


def test_workers_that_each_hold_less_than_they_could_become_fewer() -> None:
    """Ten workers with a thread each, and room for ten each, once stayed for ever: none gave up a thread."""
    timeline = Timeline(replace(POLICY, threads_per_replica=10), replicas=10)
    held = [hold(f"t{number}", f"w{number}", 5) for number in range(10)]

    assert timeline.keep(61, state(*[20] * 10, bound=10, held=held)) == 1
    assert timeline.keep(200, state(*[20] * 10, bound=10, held=[hold(f"t{n}", "w0", 5) for n in range(10)])) == 1


def test_those_that_stay_can_hold_all_that_is_held() -> None:
    timeline = Timeline(replace(POLICY, threads_per_replica=4), replicas=6)
    held = [hold(f"t{number}", f"w{number % 5}", 5) for number in range(9)]

    assert timeline.keep(61, state(*[20] * 9, bound=9, held=held)) == 3


def test_a_wiped_redis_takes_no_worker_away() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 6, born=1))

    decision = timeline.see(state(born=None))
    assert decision.reason == "DataLost"
    assert timeline.keep(1_000, state(born=None)) == 6


def test_new_data_after_a_wipe_are_believed_after_a_window() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 6, born=1))
    timeline.keep(100, state(born=None))

    assert timeline.at(101, state(1, born=2)) == 6
    assert timeline.keep(160, state(1, born=2)) == 6
    assert timeline.keep(161, state(1, born=2)) == 1


def test_a_wipe_during_a_restart_is_noticed() -> None:
    resumed = History.restored({}, {SHARD: 1})

    assert Timeline(replicas=6, history=resumed).keep(1_000, state(born=None)) == 6


def test_a_queue_that_was_never_used_is_known_to_be_empty() -> None:
    assert Timeline(replicas=2).keep(61, state(born=None)) == 0


def test_a_given_time_wins_over_the_learned_one() -> None:
    assert History.restored({SHARD.handler: 9.0}, {}).seconds_per_request(SHARD.handler, POLICY) == 0.1


def test_seconds_are_learned_from_what_was_settled() -> None:
    """1,000 requests in 500 s of handling: half a second each, and 20 threads of 60 ask for 20 lanes."""
    timeline = Timeline(Policy(max_replicas=50, drain_seconds=30))
    # the guess: 20 * (0.02 * 60 + 0.01) / 30 = 0.81
    assert timeline.at(0, state(*[60] * 20, listed=51)) == 1

    timeline.at(1, state(*[60] * 20, listed=51, settled=1_000, busy_seconds=500.0))
    assert timeline.history.seconds_per_request(SHARD.handler, timeline.policy) == pytest.approx(0.5, rel=0.01)
    assert timeline.replicas == 20


def test_counters_from_before_the_first_read_teach_nothing() -> None:
    timeline = Timeline(Policy())
    timeline.at(0, state(1, settled=10**6, busy_seconds=1.0))

    assert timeline.history.seconds_per_request(SHARD.handler, timeline.policy) == 0.02


def test_counters_that_went_back_teach_nothing() -> None:
    """A failover that lost the newest writes is no wipe, and no negative time."""
    timeline = Timeline(Policy())
    timeline.at(0, state(1, settled=100, busy_seconds=50.0))
    decision = timeline.see(state(1, settled=90, busy_seconds=45.0))

    assert decision.doubt is None
    assert timeline.history.seconds_per_request(SHARD.handler, timeline.policy) == 0.02


def test_a_pinned_number_is_set_at_once_and_outside_of_the_bounds() -> None:
    assert Timeline(Policy(max_replicas=2, pinned=5)).at(0, state()) == 5
    assert Timeline(Policy(pinned=0), replicas=3).at(0, doubt=UNREACHABLE) == 0


def test_a_suspended_queue_has_no_workers() -> None:
    decision = Timeline(Policy(is_suspended=True, pinned=5), replicas=4).see(state(9))

    assert decision.replicas == 0
    assert decision.reason == "Suspended"


def test_a_paused_direction_is_not_taken() -> None:
    assert Timeline(Policy(may_rise=False)).see(state(*[10_000] * 4)).reason == "Paused"
    assert Timeline(Policy(may_fall=False), replicas=4).keep(500, state()) == 4
    assert Timeline(Policy(may_fall=False), replicas=1).at(0, state(*[10_000] * 4)) == 4


def test_a_lowered_maximum_holds_at_once() -> None:
    busy = [hold(f"t{index}", f"pod-{index}", 5.0) for index in range(8)]

    assert Timeline(Policy(max_replicas=3), replicas=8).at(0, state(*[10_000] * 8, held=busy)) == 3
    assert Timeline(Policy(max_replicas=3), replicas=8).at(0, doubt=UNREACHABLE) == 3


def test_nothing_new_asks_for_no_change() -> None:
    timeline = Timeline()
    timeline.at(0, state(*[10_000] * 3))

    decision = timeline.see(state(*[10_000] * 3))
    assert decision.replicas is None
    assert decision.reason == "AsWished"


@pytest.mark.slow
def test_the_remembered_wishes_stay_few() -> None:
    timeline = Timeline(Policy(window_seconds=3_600))
    for second in range(5_000):
        timeline.at(second, state(*[10_000] * (second % 7)))

    assert len(timeline.history.wishes) <= 7


def test_the_message_says_what_was_seen() -> None:
    decision = Timeline().see(state(*[10_000] * 2))

    assert decision.message == "20,000 requests in 2 threads ask for 2 workers; there are 0"


# Work that nothing was learned of

COLD = Policy(max_replicas=20)


def in_hand(requests: int, busy_seconds: float, thread: str = "t0", worker: str = "pod-0") -> Hold:
    return hold(thread, worker, busy_seconds)._replace(in_hand=requests)


def test_a_batch_in_hand_tells_how_long_requests_take() -> None:
    """Three requests in hand for t seconds take t / 3 each at least: the guess doubles when the time does."""
    timeline = Timeline(COLD, history=History())
    wishes = [timeline.at(0, state(*[3] * 40, listed=21))]
    wishes += [timeline.at(n, state(*[3] * 40, listed=21, held=[in_hand(3, n)])) for n in (1, 2, 3, 4)]

    assert wishes == [1, 9, 18, 20, 20]


def test_what_a_guess_rests_on_is_told() -> None:
    timeline = Timeline(COLD, history=History())
    timeline.at(0, state(*[3] * 40, listed=21))
    timeline.at(2, state(*[3] * 40, listed=21, held=[in_hand(3, 2.0)]))
    message = timeline.see(state(*[3] * 40, listed=21, held=[in_hand(3, 2.0)])).message

    assert message == "120 requests in 40 threads (of 0.67 s or more each) ask for 18 workers"


def test_a_batch_that_takes_what_was_assumed_proves_nothing_new() -> None:
    timeline = Timeline(COLD, history=History())
    first = timeline.at(0, state(*[60] * 100, listed=21))

    assert timeline.at(1.2, state(*[60] * 100, listed=21, held=[in_hand(60, 1.2)])) == first == 14


def test_a_batch_proves_only_the_time_in_which_nothing_was_seen_settled() -> None:
    """An operator that starts now cannot tell how many batches a worker has had in the last hour."""
    timeline = Timeline(COLD, replicas=1, history=History())
    first = timeline.at(0, state(*[3] * 40, listed=21, held=[in_hand(3, 3_600.0)], settled=7))

    assert first == 1 + 1  # after an hour, t0 is endless
    assert timeline.at(1, state(*[3] * 40, listed=21, held=[in_hand(3, 3_601.0)], settled=7)) == 9 + 1


def test_one_slow_request_says_little_of_what_was_learned() -> None:
    timeline = Timeline(COLD, history=History.restored({SHARD.handler: 0.02}, {}))
    first = timeline.at(0, state(*[3] * 40, listed=21))

    assert timeline.at(9, state(*[3] * 40, listed=21, held=[in_hand(3, 9.0)])) <= first + 1  # it is endless


def test_nothing_in_hand_proves_nothing() -> None:
    timeline = Timeline(COLD, history=History())
    timeline.at(0, state(*[3] * 40, listed=21))
    timeline.at(5, state(*[3] * 40, listed=21, held=[in_hand(0, 5.0), in_hand(3, 5.0)._replace(lease_seconds=-1)]))

    assert timeline.history.seconds_per_request(SHARD.handler, COLD) == 0.02


def test_a_slow_thread_is_not_taken_for_an_endless_one() -> None:
    """The time of its batch explains why it is held: its hold is judged by the guess of now."""
    timeline = Timeline(COLD, history=History())
    timeline.at(0, state(3, 3))
    for n in range(1, 9):
        timeline.at(n, state(3, 3, held=[in_hand(3, n)]))
    decision = timeline.see(state(3, 3, held=[in_hand(3, 8.0)]))

    seconds = 2 * 8 / 3 - 0.02
    assert decision.lanes == pytest.approx(2 * min(1, (3 * seconds + 0.01) / 10))


# Endless threads in every lane


def stuck(lags: list[TubeLag], depths: list[int], endless: int = 1) -> ShardState:
    fed = [hold(f"t{index}", f"pod-{index}", 30.0) for index in range(endless)]
    return state(*depths, held=fed, ready=len(lags), oldest=lags)


def test_when_each_lane_is_stuck_threads_that_are_alike_count_as_endless() -> None:
    """One worker and an endless thread: no lane would find out about the other nine threads before its turn is over."""
    assert Timeline(replicas=1).at(0, stuck(waiting(9, 1.0), [5] * 10)) == 10
    assert Timeline(replicas=1).at(0, stuck(waiting(9, 0.9), [5] * 10)) == 2
    assert Timeline(replicas=2).at(0, stuck(waiting(9, 1.0), [5] * 10)) == 2


def test_single_requests_behind_an_endless_thread_are_not_like_it() -> None:
    assert Timeline(replicas=1).at(0, stuck(waiting(9, 5.0), [5] + [1] * 9)) == 2


def test_threads_that_no_worker_can_bind_do_not_count_as_endless() -> None:
    lags = [*waiting(4, 1.0, "blocked"), *waiting(9, 1.0)[4:]]
    seen = replace(stuck(lags, [5] * 10), ready=5)

    assert Timeline(replicas=1).at(0, replace(seen, blocked=4)) == 6
    assert Timeline(replicas=1).keep(100, replace(seen, is_paused=True)) == 1


# The pace


def test_work_is_shared_out_so_that_starts_pay() -> None:
    """100 × 10 requests of 20 ms are 21 s of work: √21 s for each worker that takes a second to start."""
    assert Timeline(COLD, history=History()).at(0, state(*[10] * 100, listed=21)) == 5
    assert Timeline(COLD, history=History(start_time=StartTime(0.5))).at(0, state(*[10] * 100, listed=21)) == 7


def test_the_drain_time_includes_the_start() -> None:
    """121 s of work in the 9 s that remain of 10 s."""
    assert Timeline(COLD, history=History()).at(0, state(*[60] * 100, listed=21)) == 14
    assert Timeline(COLD, history=History(start_time=StartTime(1.5))).at(0, state(*[60] * 100, listed=21)) == 15


def test_no_hurry_where_the_deepest_thread_takes_longer() -> None:
    """It takes 8 s in any case: beside it, 20 s of work are for three workers and not for four, of √28 s each."""
    assert Timeline(COLD, history=History()).at(0, state(400, *[10] * 95, listed=21)) == 4


def test_no_worker_is_started_for_less_than_four_times_its_start() -> None:
    """6 s of work are two lanes of 4 s, not three of √6 s; with a start of a quarter of D or longer, the pace is D."""
    assert Timeline(COLD, history=History()).at(0, state(*[1] * 200, listed=21)) == 2
    assert Timeline(COLD, history=History(start_time=StartTime(2.5))).at(0, state(*[60] * 100, listed=21)) == 13
    given = replace(COLD, drain_seconds=10)
    assert Timeline(given, history=History(start_time=StartTime(20.0))).at(0, state(*[60] * 100, listed=21)) == 13


def test_threads_that_share_a_worker_share_its_start() -> None:
    """Two lanes for the price of one start of 0.5 s: √(0.5 · 21 / 2) s of work each, in 9.2 lanes."""
    policy = replace(COLD, threads_per_replica=2)

    assert Timeline(policy, history=History(start_time=StartTime(0.5))).at(0, state(*[10] * 100, listed=41)) == 5


# Steady work


def steady(second: float, lanes: float = 5.0, there: int = 8, **fields: object) -> ShardState:
    """A moment of work that takes *lanes*: next to nothing waits, and threads come and go."""
    held = [hold(f"t{number}", f"pod-{number}", 0.1) for number in range(int(lanes))]
    settled, busy = int(second * lanes * 10), second * lanes
    known = {"held": held, "bound": len(held), "ready": there - len(held), "settled": settled, "busy_seconds": busy}
    return state(*[1] * there, **(known | fields))


def test_steady_work_keeps_the_workers_that_it_takes_whatever_one_instant_shows() -> None:
    """Eight single requests of 0.1 s ask for one worker at each instant, while five are busy all the time."""
    timeline = Timeline(replicas=7)
    replicas = [timeline.at(second, steady(second)) for second in range(200)]

    assert min(replicas) == replicas[-1] == 6
    assert timeline.history.work.lanes(60) == pytest.approx(5.5, rel=0.05)


def test_requests_longer_than_the_window_count_while_they_are_held() -> None:
    timeline = Timeline(replicas=7)
    for second in range(200):
        timeline.at(second, steady(second, settled=0, busy_seconds=0.0, bound=0))

    assert timeline.replicas == 6


def test_steady_work_that_its_workers_barely_do_gets_one_more() -> None:
    timeline = Timeline(replicas=5)

    assert [timeline.at(second, steady(second)) for second in range(90)][-1] == 6


def test_a_hot_thread_gets_no_second_worker_for_its_rate() -> None:
    timeline = Timeline(replicas=1)

    assert {timeline.at(second, steady(second, lanes=1.0, there=1)) for second in range(200)} == {1}


def test_steady_work_that_ended_takes_its_workers_with_it() -> None:
    timeline = Timeline(replicas=7)
    for second in range(100):
        timeline.at(second, steady(second))
    ended = state(settled=99 * 50, busy_seconds=99 * 5.0)

    assert timeline.keep(130, ended) == 3
    assert timeline.keep(165, ended) == 0


@pytest.mark.slow
def test_the_samples_of_a_window_stay_few() -> None:
    timeline = Timeline(replace(POLICY, window_seconds=600))
    for second in range(2_000):
        timeline.at(second, steady(second))

    assert len(timeline.history.work.samples) <= 23


def test_a_hurried_poll_never_lowers() -> None:
    """It comes with the first request of an empty queue, and sees that one alone."""
    timeline = Timeline(replicas=7)
    timeline.keep(120, state(*[10_000] * 7))
    timeline.keep(180, state(), doubt=UNREACHABLE)
    timeline.now = 250
    for _ in range(5):
        decision = decide(Observation(7, (state(1),), 250.0, is_hurried=True), POLICY, timeline.history, 250.0)
        timeline.history = decision.history
        assert (decision.replicas, decision.reason) == (None, "FewReads")

    assert timeline.keep(252, state(1)) == 7
    assert timeline.keep(253, state(1)) < 7


def test_a_trickle_that_no_poll_sees_is_not_idle() -> None:
    """Each request is done between two polls; what was settled tells that somebody worked."""
    timeline = Timeline(history=History())
    timeline.at(0, state(*[10_000] * 8))
    busy = [timeline.at(second, state(settled=second, busy_seconds=0.1 * second)) for second in range(1, 50)]

    assert set(busy) == {8}


# Slow starts


def test_a_drain_time_that_nobody_set_follows_the_start() -> None:
    """√(20 s · 60 s) is 34.6 s; up to 1.7 s it is 10 s, and it is never longer than the window."""
    assert [Policy().fitted(start).drain for start in (0.5, 1.6, 20.0, 600.0)] == [
        10,
        10,
        pytest.approx(34.64, rel=0.01),
        60,
    ]
    assert Policy(drain_seconds=10).fitted(20.0).drain == 10


def test_a_start_that_takes_longer_than_any_before_counts_before_it_ends() -> None:
    """Else the operator asks for more workers each second, as if the next one could come before the first."""
    timeline = Timeline(Policy(max_replicas=50, seconds_per_request={SHARD.handler: 0.1}), history=History())
    for second in range(60):
        depths = [second * 50 // 100 or 1] * 100
        timeline.at(second, state(*depths, listed=51, ready=100, registered=50 * second))

    assert timeline.history.start_time.seconds == 59
    assert timeline.replicas <= 7


def test_workers_on_their_way_count() -> None:
    """Six minutes of work in 60 s of start: 30 workers that are awaited do it while one more would start."""
    policy = Policy(max_replicas=50, drain_seconds=10, seconds_per_request={SHARD.handler: 0.1})
    timeline = Timeline(policy, history=History(start_time=StartTime(60.0)))
    first = timeline.at(0, state(*[30] * 100, listed=51, ready=100))
    replicas = [timeline.at(at, state(*[36] * 100, listed=51, ready=100, registered=0)) for at in (30, 59)]

    assert first == 31
    assert replicas == [31, 31]


# The end of work

FOLLOWING = replace(POLICY, window_seconds=None)
"""Of a user who set no window."""


def test_workers_leave_an_idle_queue_once_starting_them_again_is_cheaper() -> None:
    """After ten starts of a second; but one stays for the window, so that a trickle waits for no start."""
    timeline = Timeline(FOLLOWING, history=History())
    timeline.at(0, state(*[10_000] * 8))

    assert timeline.keep(10, state()) == 8
    assert timeline.keep(11, state()) == 1
    assert timeline.keep(59, state()) == 1
    assert timeline.keep(60, state()) == 0


def test_slow_starts_keep_workers_for_the_window() -> None:
    timeline = Timeline(FOLLOWING, history=History(start_time=StartTime(6.0)))
    timeline.at(0, state(*[10_000] * 8))

    assert timeline.keep(59, state()) == 8
    assert timeline.keep(60, state()) == 0


def test_a_window_that_the_user_set_is_kept_by_an_idle_queue() -> None:
    """Bursts each 20 s once met one worker, whatever the window was."""
    for window in (60, 300):
        timeline = Timeline(replace(POLICY, window_seconds=window), history=History())
        timeline.at(0, state(*[10_000] * 8))

        assert timeline.keep(window - 1, state()) == 8
        assert timeline.keep(window, state()) == 0


def test_a_queue_that_asks_for_little_is_not_idle() -> None:
    timeline = Timeline(FOLLOWING, history=History())
    timeline.at(0, state(*[10_000] * 8))

    assert timeline.keep(59, state(1)) == 8


def test_a_moment_of_doubt_or_of_work_ends_the_idleness() -> None:
    for interruption in ({"doubt": UNREACHABLE}, {}):
        timeline = Timeline(FOLLOWING, history=History())
        timeline.at(0, state(*[10_000] * 8))
        timeline.keep(10, state())
        timeline.see(*([] if interruption else [state(1)]), **interruption)

        assert timeline.keep(20, state()) == 8
        assert timeline.keep(21, state()) == 1


def test_the_minimum_and_busy_workers_stay_in_an_idle_queue() -> None:
    busy = [hold(f"t{index}", f"pod-{index}", 5.0) for index in range(3)]
    timeline = Timeline(Policy(min_replicas=2), history=History())
    timeline.at(0, state(*[10_000] * 8))
    paused = state(*[5] * 3, is_paused=True, held=busy)

    assert timeline.keep(30, paused) == 3
    assert [timeline.keep(second, state()) for second in range(31, 41)] == [2] * 10


def test_the_end_of_idleness_is_told() -> None:
    timeline = Timeline(FOLLOWING, history=History())
    timeline.at(0, state(*[10_000] * 8))
    timeline.keep(10, state())
    timeline.now = 11
    decision = timeline.see(state())

    assert decision.reason == "Idle"
    assert decision.message == "no thread has asked for a worker for 10 s; keeping 1 worker for up to 60 s"
    assert len(decision.message) < 80


# What a start takes


def risen(*held: Hold, at: float, ready: int = 5, before: Timeline | None = None) -> Timeline:
    timeline = before or Timeline(COLD, history=History())
    if not before:
        timeline.at(0, state(*[200] * 10, listed=21, ready=10))
    timeline.at(at, state(*[200] * 10, listed=21, ready=ready, held=list(held)))
    return timeline


def test_a_start_is_learned_from_the_first_thread_of_each_new_worker() -> None:
    """Two workers bound threads 4 s after the rise; each counts half."""
    timeline = risen(hold("t0", "pod-0", 1.0), hold("t1", "pod-1", 1.0), at=5)
    assert timeline.history.start_time.seconds == pytest.approx(1 / 4 + 4 / 4 + 4 / 2)

    risen(hold("t2", "pod-0", 0.5), hold("t1", "pod-1", 2.0), at=6, before=timeline)
    assert timeline.history.start_time.seconds == pytest.approx(3.25)


def test_a_start_is_learned_though_more_workers_were_asked_for_meanwhile() -> None:
    timeline = Timeline(replace(COLD, drain_seconds=10), history=History())
    for second, depth in enumerate(range(100, 130)):
        timeline.at(second, state(*[depth // 4] * 10, listed=21, ready=10))
    timeline.at(30, state(*[200] * 10, listed=21, ready=9, held=[hold("t0", "pod-0", 1.0)]))

    assert timeline.history.start_time.learned == pytest.approx((1 + 29) / 2)


def test_a_worker_for_which_no_thread_waited_teaches_nothing_of_its_start() -> None:
    timeline = risen(at=5, ready=0)
    risen(hold("t0", "pod-0", 1.0), at=60, before=timeline)

    assert timeline.history.start_time.seconds == 1.0


def test_a_worker_that_was_idle_teaches_nothing_of_its_start() -> None:
    timeline = Timeline(COLD, replicas=1, history=History())
    risen(at=0, before=timeline)
    risen(hold("t0", "pod-0", 4.9), at=5, before=timeline)

    assert timeline.history.start_time.seconds == 1.0


# Whatever is seen

shards = st.builds(
    lambda depths, holds, lag, settled, busy: state(
        *depths,
        listed=21,
        ready=max(0, len(depths) - holds),
        settled=settled,
        busy_seconds=settled * busy,
        held=[in_hand(depth, busy, f"t{n}", f"pod-{n}") for n, depth in enumerate(depths[:holds])],
        oldest=[TubeLag(f"t{n}", 0, depth, lag) for n, depth in enumerate(depths)][:21],
    ),
    depths=st.lists(st.integers(1, 2_000), max_size=40),
    holds=st.integers(0, 20),
    lag=st.floats(0, 100),
    settled=st.integers(0, 10_000),
    busy=st.floats(0, 100),
)


@settings(deadline=None)
@given(
    seen=st.lists(shards, min_size=1, max_size=8),
    minimum=st.integers(0, 3),
    maximum=st.integers(3, 30),
    lanes=st.integers(1, 4),
    start=st.floats(0.1, 100),
)
@pytest.mark.slow
def test_replicas_stay_within_the_bounds_and_the_threads(
    seen: list[ShardState], minimum: int, maximum: int, lanes: int, start: float
) -> None:
    policy = Policy(min_replicas=minimum, max_replicas=maximum, threads_per_replica=lanes)
    timeline = Timeline(policy, replicas=minimum, history=History(start_time=StartTime(start)))
    for second, each in enumerate(seen):
        timeline.now = second
        decision = timeline.see(each)

        assert minimum <= timeline.replicas <= maximum
        assert decision.wish is not None
        assert decision.wish <= max(minimum, ceil(each.threads / lanes))


@settings(max_examples=40, deadline=None)
@given(seen=shards, start=st.floats(0.1, 100), lanes=st.integers(1, 4))
@pytest.mark.slow
def test_what_stays_the_same_is_scaled_to_an_end(seen: ShardState, start: float, lanes: int) -> None:
    """Replicas rise, fall once the window is over, and then stay: a guess does not double for ever."""
    policy = Policy(max_replicas=30, threads_per_replica=lanes)
    timeline = Timeline(policy, history=History(start_time=StartTime(start)))
    replicas = [timeline.at(4.0 * poll, seen) for poll in range(200)]

    top = replicas.index(max(replicas))
    assert replicas[: top + 1] == sorted(replicas[: top + 1])
    assert replicas[top:] == sorted(replicas[top:], reverse=True)
    assert len(set(replicas[150:])) == 1  # the mean of each window may add a tenth to what the one before it added


# Recommendations


def test_a_recommendation_is_the_decision_with_all_but_the_mode() -> None:
    """What another scaler is to follow: with the limits, the window, and what a person ordered."""
    timeline = Timeline(replace(POLICY, max_replicas=4, is_recommending=True))
    first = timeline.see(state(*[60] * 30))
    assert (first.replicas, first.recommendation) == (None, 4)

    timeline.replicas = 4
    timeline.keep(20, state())
    assert timeline.see(state()).recommendation == 4
    timeline.keep(70, state())
    assert timeline.see(state()).recommendation == 0
    timeline.policy = replace(timeline.policy, pinned=7)
    assert timeline.see(state()).recommendation == 7


def test_a_recommendation_never_falls_while_the_queue_is_unknown() -> None:
    timeline = Timeline(replace(POLICY, is_recommending=True), replicas=3)

    assert timeline.see(doubt=UNREACHABLE).recommendation == 3
