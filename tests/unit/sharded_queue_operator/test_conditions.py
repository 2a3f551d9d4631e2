"""Conditions that tell a person which thread to look at, as timelines."""

from typing import Any

from sharded_queue.state import Hold, ShardState, TubeLag
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.conditions import Readiness, thread_conditions
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.policy import Policy

POLICY = Policy(max_replicas=2, drain_seconds=30)
SHARD = Shard("a.A")


class Told:
    """What the conditions say, from one look to the next."""

    def __init__(self) -> None:
        self.conditions: dict[str, Any] = {}

    def at(
        self,
        seconds: int,
        state: ShardState,
        replicas: int = 2,
        doubt: Doubt | None = None,
        ready: int = 2,
        is_failing: bool = False,
    ) -> None:
        now = f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"
        workers = Readiness(ready, replicas, is_failing)
        for each in thread_conditions(
            Observation(replicas, [state], 0.0, doubt), POLICY, self.conditions, now, workers
        ):
            old = self.conditions.get(each.type, {})
            since = old["lastTransitionTime"] if old.get("status") == each.status else now
            self.conditions[each.type] = {**each._asdict(), "lastTransitionTime": since}

    def says(self, type_: str) -> str:
        """The sentence of a condition that is true; else nothing."""
        condition = self.conditions.get(type_, {})
        return condition["message"] if condition.get("status") == "True" else ""


def held(**seconds: float) -> ShardState:
    holds = [Hold(thread, f"pod-{thread}/f00d", 1, busy) for thread, busy in seconds.items()]
    return ShardState(SHARD, held=holds, threads=len(holds), bound=len(holds))


def waiting(*, blocked: int = 0, parked: int = 0, ready: int | None = None, **lags: float) -> ShardState:
    """Two threads are held, and these wait; the first ones are blocked, the next ones parked."""
    holds = [Hold(thread, f"pod-{thread}/f00d", 1, 5.0) for thread in ("h1", "h2")]
    states = [*["bound"] * 2, *["blocked"] * blocked, *["parked"] * parked, *["ready"] * len(lags)]
    named = {"h1": 99.0, "h2": 98.0, **lags}
    oldest = [TubeLag(thread, 0, 1, lag, state) for (thread, lag), state in zip(named.items(), states, strict=False)]
    return ShardState(
        SHARD,
        oldest=oldest,
        held=holds,
        ready=len(lags) - blocked - parked if ready is None else ready,
        blocked=blocked,
        parked=parked,
    )


def test_a_thread_that_is_held_for_the_drain_time_is_named() -> None:
    told = Told()
    told.at(0, held(t1=29.9))
    assert told.says("HotThreads") == ""

    told.at(1, held(t1=30.9, t2=3))
    assert told.says("HotThreads").startswith("thread t1 of a.A has kept a worker busy for 30 s")


def test_the_thread_that_was_named_stays_named_while_it_is_true() -> None:
    told = Told()
    told.at(0, held(t1=40))
    told.at(1, held(t1=41, t2=100))
    assert told.says("HotThreads").startswith("thread t1 ")

    told.at(2, held(t1=1, t2=101))
    assert told.says("HotThreads").startswith("thread t2 ")


def test_a_condition_that_ends_is_reported_at_once() -> None:
    told = Told()
    told.at(0, held(t1=40))
    told.at(1, held(t1=1))

    assert told.conditions["HotThreads"]["status"] == "False"
    assert told.conditions["HotThreads"]["message"] == "no thread has kept a worker busy for 30 s without a break"


def test_a_condition_that_ended_comes_again_after_a_minute_at_the_earliest() -> None:
    told = Told()
    told.at(0, held(t1=40))
    told.at(1, held(t1=1))
    told.at(60, held(t1=40))
    assert told.says("HotThreads") == ""

    told.at(61, held(t1=41))
    assert told.says("HotThreads").startswith("thread t1 ")


def test_a_condition_that_was_never_true_comes_at_once() -> None:
    told = Told()
    told.at(0, held(t1=1))
    told.at(1, held(t1=30))

    assert told.says("HotThreads").startswith("thread t1 ")


def test_a_thread_that_waits_while_there_can_be_no_more_workers_starves() -> None:
    told = Told()
    told.at(0, waiting(w1=31, w2=40), replicas=1)
    assert told.says("Starving") == ""

    told.at(1, waiting(w1=29))
    assert told.says("Starving") == ""
    told.at(2, waiting(w1=31, w2=40))
    assert told.says("Starving") == "thread w2 of a.A has waited for 30 s, and maxReplicas allows 2 workers"


def test_a_thread_that_waits_for_workers_that_do_not_run_is_told_so() -> None:
    told = Told()
    told.at(0, waiting(w1=31), ready=1)

    assert told.says("Starving") == "thread w1 of a.A has waited for 30 s, with 1 of 2 workers ready"
    assert told.conditions["Starving"]["reason"] == "TooFewReady"


def test_a_thread_starves_below_the_maximum_too_where_workers_cannot_run() -> None:
    """A quota, an image or a crash loop kept all of them from it, and no thread was said to starve."""
    told = Told()
    told.at(0, waiting(w1=31), replicas=1, ready=0)
    assert told.says("Starving") == "", "they may be on their way"

    told.at(1, waiting(w1=32), replicas=1, ready=0, is_failing=True)
    assert told.says("Starving") == "thread w1 of a.A has waited for 30 s, with 0 of 1 worker ready"

    told.at(2, waiting(w1=33), replicas=1, ready=1)
    assert told.says("Starving") == ""


def test_starving_ends_well_below_where_it_began() -> None:
    told = Told()
    told.at(0, waiting(w1=31))
    told.at(100, waiting(w1=16))
    assert told.says("Starving") != ""

    told.at(101, waiting(w1=14))
    assert told.says("Starving") == ""


def test_threads_that_are_blocked_or_paused_do_not_starve() -> None:
    told = Told()
    told.at(0, waiting(w1=40, blocked=1))
    assert told.says("Starving") == ""

    told.at(1, waiting(w1=40, w2=35, blocked=1))
    assert told.says("Starving").startswith("thread w2 of a.A has waited")


def test_threads_that_wait_for_an_old_layout_do_not_starve() -> None:
    told = Told()
    told.at(0, waiting(w1=40, w2=1, parked=1))
    assert told.says("Starving") == ""

    told.at(1, waiting(w1=40, w2=35, parked=1))
    assert told.says("Starving").startswith("thread w2 of a.A has waited")


def test_what_is_not_known_changes_nothing() -> None:
    told = Told()
    told.at(0, held(t1=40))
    told.at(100, ShardState(SHARD), doubt=Doubt("RedisUnreachable", "no answer"))

    assert told.says("HotThreads") != ""


def test_a_queue_that_changes_by_the_second_changes_no_condition() -> None:
    """A hundred threads that take turns in being the oldest and the longest held: two states, and no more writes."""
    told, versions = Told(), set()
    for second in range(50):
        lags = {f"w{number}": 31.0 + (number + second) % 7 for number in range(20)}
        told.at(second, waiting(**lags))
        versions.add(str(told.conditions))

    assert len(versions) == 1
