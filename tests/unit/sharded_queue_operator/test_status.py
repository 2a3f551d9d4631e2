from dataclasses import replace
from typing import Any, Literal

import pytest

from sharded_queue.state import Hold, ShardState, TubeLag
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.conditions import Condition, condition
from sharded_queue_operator.resource.events import events_of
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.status import (
    MOST_CHARACTERS,
    is_urgent,
    is_worth_writing,
    patch,
    refused_status,
    short,
    status_of,
)
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Doubt, Observation
from sharded_queue_operator.scaling.service_time import ServiceTime

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
UNREACHABLE = Doubt("RedisUnreachable", "no answer from redis:6379")


def body(**status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"namespace": "shop", "name": "n", "generation": 4},
        "spec": {
            "redis": {"addresses": ["redis:6379"]},
            "handlers": [{"name": "a"}],
            "worker": {"image": "i", "modules": ["m"]},
        },
        "status": status,
    }


RESOURCE: Resource = parsed(body())


def lagging(seconds: float) -> Observation:
    return seen(lag_seconds=seconds, oldest=[TubeLag("1", 0, 7, seconds)])


def seen(depth: int = 7, **fields: Any) -> Observation:
    return Observation(2, [ShardState(Shard("a"), depth=depth, threads=1, **{"born": 5, **fields})], 0.0)


def told(
    before: dict[str, Any] | None = None,
    *,
    observation: Observation | None = None,
    doubt: Doubt | None = None,
    seconds: float = 0.5,
    now: str = EARLY,
) -> dict[str, Any]:
    before, observation = before or {}, observation or seen()
    born = {Shard("a"): handler["born"][0] for handler in before.get("handlers", [])}
    service_times = {"a": ServiceTime(10, 10 * seconds)}
    history = replace(History.restored({}, born).with_counters(observation.shards), service_times=service_times)
    decision = Decision(None, "AsWished", "as it is", history, wish=2, recommendation=2, lanes=1.5, doubt=doubt)
    return status_of(RESOURCE, None, observation, decision, before=before, read_at=now, now=now)


def test_what_was_seen_and_decided_is_told() -> None:
    status = told()

    assert status["observedGeneration"] == 4
    assert (status["desiredReplicas"], status["recommendedReplicas"], status["depth"]) == (2, 2, 7)
    assert status["handlers"] == [{"name": "a", "born": [5], "microsecondsPerRequest": 500_000}]
    assert condition(status, "Ready")["status"] == "True"


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    first = told(now=EARLY)
    second = told(first, now=LATE)
    third = told(second, doubt=UNREACHABLE, now=LATE)

    assert condition(second, "Ready")["lastTransitionTime"] == EARLY
    assert condition(third, "Ready")["lastTransitionTime"] == LATE
    assert condition(third, "ScalingLimited")["lastTransitionTime"] == EARLY


def test_what_is_not_known_any_more_stays_as_it_was() -> None:
    before = told()
    after = told(before, observation=Observation(2, (), 0.0), doubt=UNREACHABLE)

    assert after["depth"] == 7
    assert after["handlers"] == before["handlers"]


def test_the_same_again_is_no_change() -> None:
    before = told()

    assert patch(before, told(before, now=LATE)) == {}


def test_a_queue_that_stands_still_grows_old_without_a_change() -> None:
    before = told(observation=lagging(30.2), now=EARLY)
    after = told(before, observation=lagging(94.4), now=LATE)

    assert before["oldestRequestTime"] == "2025-12-31T23:59:29Z"
    assert patch(before, after) == {}


def test_a_younger_oldest_request_is_worth_a_line_before_long() -> None:
    before = told(observation=lagging(30), now=EARLY)
    after = told(before, observation=lagging(5), now=LATE)

    assert after["oldestRequestTime"] == "2026-01-01T00:00:55Z"
    assert is_worth_writing(before, after, LATE)


def test_without_requests_there_is_no_oldest_one() -> None:
    before = told(observation=lagging(30))

    assert patch(before, told(before, observation=seen(depth=0))) == {"depth": 0, "oldestRequestTime": None}


def test_a_depth_can_wait_and_a_condition_cannot() -> None:
    before = told()

    assert not is_urgent(before, told(before, observation=seen(depth=9)))
    assert is_urgent(before, told(before, doubt=UNREACHABLE))


def test_a_service_time_that_wavers_is_not_written_anew() -> None:
    before = told(seconds=0.5)

    assert told(before, seconds=0.55)["handlers"] == before["handlers"]
    assert told(before, seconds=0.7)["handlers"][0]["microsecondsPerRequest"] == 700_000


def test_a_marker_that_vanished_is_remembered() -> None:
    before = told()

    assert told(before, observation=seen(born=None))["handlers"][0]["born"] == [5]


def test_losing_and_finding_redis_are_one_event_each() -> None:
    known = told()
    lost = told(known, doubt=UNREACHABLE)
    found = told(lost)

    assert events_of({}, known) == []
    assert [event.reason for event in events_of(known, lost)] == ["RedisUnreachable"]
    assert events_of(lost, told(lost, doubt=UNREACHABLE._replace(message="refused"))) == []
    assert [event.reason for event in events_of(lost, found)] == ["RedisFound"]


def test_a_condition_is_one_event_when_it_becomes_true() -> None:
    calm = told()
    hot = told(calm, observation=seen(held=[Hold("t1", "pod/f00d", 1, 90.0)]))

    assert [event.reason for event in events_of(calm, hot)] == ["HotThreads"]
    assert events_of(hot, told(hot, observation=seen(held=[Hold("t2", "pod/f00d", 1, 90.0)]))) == []


def test_the_sentence_of_a_condition_can_wait() -> None:
    before = told(doubt=UNREACHABLE)

    assert not is_urgent(before, told(before, doubt=UNREACHABLE._replace(message="refused")))


def test_a_refusal_keeps_what_is_known_and_is_told_once() -> None:
    before = told()
    refused = refused_status(body(**before), "BadSpec", "that cannot be", LATE)

    assert refused["desiredReplicas"] == 2
    assert condition(refused, "Ready")["reason"] == "BadSpec"
    assert [event.reason for event in events_of(before, refused)] == ["BadSpec"]
    assert events_of(refused, refused_status(body(**refused), "BadSpec", "that cannot be", LATE)) == []


def test_what_is_too_long_for_a_status_is_cut() -> None:
    """A container's name of 40,000 characters once left its resource without any condition."""
    long = "n" * 40_000
    refused, doubted = refused_status(body(), "BadSpec", long, EARLY), told(doubt=Doubt("RedisUnreachable", long))

    assert len(refused["message"]) == len(condition(refused, "Ready")["message"]) == 1_000
    assert len(condition(doubted, "QueueKnown")["message"]) == 1_000


def test_what_a_sentence_quotes_cannot_move_a_cursor_or_end_a_line() -> None:
    quoted = short("thread \x1b]0;title\x07 of\nshop.Charge\u202e waits" + "x" * 5000)

    assert quoted.isprintable()
    assert len(quoted) <= MOST_CHARACTERS


WAITS = seen(depth=5_000, ready=1, lag_seconds=3_600.0, oldest=[TubeLag("t", 0, 5_000, 3_600.0)])


@pytest.mark.parametrize(
    ("spec", "reason", "contested", "ready"),
    [
        ({"suspend": True}, "Suspended", "False", "True/Suspended"),
        ({"replicas": 1}, "Pinned", "False", "True/Pinned"),
        ({"scaling": {"mode": "Recommend"}}, "Recommended", "False", "True/Recommending"),
        ({}, "ScaledUp", "True", "False/Contested"),
    ],
)
def test_who_else_holds_the_number_is_told_and_whom_that_starves(
    spec: dict[str, Any], reason: str, contested: Literal["True", "False"], ready: str
) -> None:
    """5,000 requests waited for an hour, "the workers follow the queue", and no thread was said to wait."""
    manifest = body()
    manifest["spec"] |= spec
    decision = Decision(None, reason, "", History(), wish=9)
    other = [Condition("Contested", contested, "ReplicasUndone", "")]
    workload = Workload(2, 2, 2, "app=n")
    status = status_of(
        parsed(manifest), workload, WAITS, decision, before={}, read_at=EARLY, now=EARLY, other_conditions=other
    )

    found, starving = condition(status, "Ready"), condition(status, "Starving")
    assert f"{found['status']}/{found['reason']}" == ready
    assert (starving["status"], starving["reason"]) == ("True", "NumberHeld")
    assert " for 10 s, while " in starving["message"]


def test_a_field_that_a_later_version_drops_is_told_for_as_long_as_it_is_used() -> None:
    def deprecated(before: dict[str, Any], **handler: Any) -> dict[str, Any]:
        manifest = body()
        manifest["spec"]["handlers"] = [{"name": "a", **handler}]
        decision = Decision(None, "AsWished", "", History())
        return status_of(parsed(manifest), None, seen(), decision, before=before, read_at=EARLY, now=EARLY)

    never, used = deprecated({}), deprecated({}, secondsPerRequest=0.02)
    assert condition(never, "Deprecated") == {}
    assert condition(used, "Deprecated")["message"].startswith("secondsPerRequest of a: set microsecondsPerRequest")
    assert [event.reason for event in events_of(never, used)] == ["Deprecated"]
    assert condition(deprecated(used), "Deprecated")["status"] == "False"
