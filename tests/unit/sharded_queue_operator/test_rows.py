"""What a person reads of a ShardedQueue on the page of the console."""

from typing import Any

import pytest

from sharded_queue.web.added_page import Row
from sharded_queue_operator.console.rows import Queue, content
from sharded_queue_operator.resource import conditions
from sharded_queue_operator.resource.conditions import Condition
from tests.unit.sharded_queue_operator.api_server import body

WELL = (
    Condition("Ready", "True", "Scaling", "the workers follow the queue"),
    Condition("QueueKnown", "True", "Read", "Redis answers for all handlers"),
    Condition("WorkersAvailable", "True", "AllReady", "all desired workers are ready"),
)
ROLLING_OUT = "1 of 2 workers ready; 1 of the newest release exist"
UNTRIED = "no worker is desired, and this release was not started yet: the first request starts it"


def queue(*told: Condition, name: str = "n", spec: dict[str, Any] | None = None, **status: Any) -> Queue:
    """A resource that is well but for the conditions that are *told*."""
    by_type = {each.type: each._asdict() for each in (*WELL, *told)}
    numbers = {"desiredReplicas": 2, "replicas": 2, "readyReplicas": 2, "observedGeneration": 1}
    manifest = body(**(spec or {})) | {"status": {**numbers, "conditions": list(by_type.values()), **status}}
    manifest["metadata"] |= {"name": name}
    return Queue(manifest)


def row(*told: Condition, **given: Any) -> Row:
    return queue(*told, **given).row(())


def answer(*queues: Queue) -> str:
    return content(queues, {}, 0).answer


def remarks(shown: Row) -> list[tuple[str, str]]:
    return [(remark.text.partition(" ")[0], remark.tone) for remark in shown.remarks]


def test_queue_that_is_well_is_ready_and_needs_no_word() -> None:
    assert (row().state, row().tone, row().remarks) == ("ready", "good", [])
    assert answer(queue()) == "1 ShardedQueue has 2 workers, and reports no problem"


def test_release_on_its_way_is_no_fault_of_its_queue() -> None:
    """It was "not ready" in red, though the operator says what happens."""
    unready = [Condition(kind, "False", "RollingOut", ROLLING_OUT) for kind in ("Ready", "WorkersAvailable")]
    shown = row(*unready)

    assert (shown.state, shown.tone) == ("rolling out", "wait")
    assert remarks(shown) == [("WorkersAvailable", "wait")]
    assert answer(queue(*unready)) == f"ShardedQueue shop/n is rolling out: {ROLLING_OUT}"


def test_release_that_cannot_start_is_a_fault() -> None:
    unready = [Condition(kind, "False", "ImagePullBackOff", "no image") for kind in ("Ready", "WorkersAvailable")]

    assert (row(*unready).state, remarks(row(*unready))) == ("not ready", [("WorkersAvailable", "bad")])
    assert answer(queue(*unready)) == "ShardedQueue shop/n is not ready: no image"


@pytest.mark.parametrize(
    "told",
    [
        Condition("ScaleDownWaits", "True", "FinishingRequests", "2 surplus workers take no new threads"),
        Condition("Outdated", "True", "Waits", "this one waits for its turn"),
        Condition("Outdated", "True", "Held", "the annotation keeps this one"),
        Condition("Pinned", "True", "ReplicasSet", "spec.replicas pins 2 workers"),
        Condition("WorkersAvailable", "True", "NotStarted", UNTRIED),
    ],
)
def test_what_is_as_it_should_be_is_said_and_is_no_fault(told: Condition) -> None:
    shown = row(told)

    assert (shown.state, remarks(shown)) == ("ready", [(told.type, "idle")])
    assert told.message in shown.remarks[0].text
    assert "reports no problem" in answer(queue(told))


def test_rollouts_that_stopped_need_a_look() -> None:
    stopped = Condition("Outdated", "True", "Stopped", "3 rollouts of it failed: mend these queues")

    assert (row(stopped).state, remarks(row(stopped))) == ("needs a look", [("Outdated", "wait")])


def test_who_holds_the_number_is_named_first() -> None:
    """Not the sentence of `Ready`, which only says where to read on."""
    contested = Condition("Contested", "True", "ReplicasApplied", "flux applies spec.replicas")
    unready = Condition("Ready", "False", "Contested", "another writer holds the number, as Contested says")
    shown = row(unready, contested)

    assert (shown.state, remarks(shown)) == ("not ready", [("Contested", "bad")])
    assert answer(queue(unready, contested)) == "ShardedQueue shop/n is not ready: flux applies spec.replicas"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("Suspended", "suspended"),
        ("Pinned", "pinned"),
        ("Recommending", "recommends only"),
        ("Paused", "scaling paused"),
    ],
)
def test_queue_whose_author_holds_the_number_says_so(reason: str, word: str) -> None:
    assert row(Condition("Ready", "True", reason, "the author wants it so")).state == word


def test_condition_that_this_release_does_not_know_is_a_fault_while_it_is_true() -> None:
    unknown = Condition("Haunted", "True", "Ghosts", "there are ghosts")

    assert row(unknown).state == "needs a look"
    assert row(unknown._replace(status="False")).state == "ready"


def test_spec_that_the_operator_has_not_seen_is_not_decided() -> None:
    shown = row(observedGeneration=0)

    assert (shown.state, shown.tone) == ("not decided yet", "wait")
    assert shown.remarks[0].text == "The operator has not acted on the newest spec yet"


def test_queue_without_a_status_is_not_decided() -> None:
    shown = Queue(body()).row(())

    assert (shown.state, shown.remarks) == ("not decided yet", [])


def test_spec_of_a_later_release_is_shown_by_what_its_operator_says() -> None:
    shown = row(spec={"novelty": True})

    assert shown.state == "ready"
    assert "This console cannot read the spec: " in shown.remarks[0].text
    assert [fact.name for fact in shown.facts if fact.name in ("Desired", "Bounds", "Handlers")] == ["Desired"]


def test_number_that_the_queue_alone_asks_for_is_beside_the_other() -> None:
    (desired,) = [fact.value for fact in row(recommendedReplicas=9).facts if fact.name == "Desired"]

    assert desired == "2, 9 recommended"


def test_bounds_name_a_pin_while_it_holds() -> None:
    def bounds(told: Condition) -> str:
        (value,) = [fact.value for fact in row(told, spec={"replicas": 3}).facts if fact.name == "Bounds"]
        return value

    assert bounds(Condition("Pinned", "True", "ReplicasSet", "")) == "0 to 10, pinned to 3"
    assert bounds(Condition("Pinned", "False", "Expired", "")) == "0 to 10"


def test_worst_queue_comes_first() -> None:
    hot = queue(Condition("HotThreads", "True", "HeldForLong", "thread 7 is hot"), name="a")
    lost = queue(Condition("QueueKnown", "False", "RedisUnreachable", "Redis is gone"), name="z")
    shown = content([queue(name="b"), hot, lost], {}, 0)

    assert [each.name for each in shown.rows] == ["shop/z", "shop/a", "shop/b"]
    assert shown.answer == "ShardedQueue shop/z is not ready: Redis is gone; 1 further one needs a look"


def test_release_on_its_way_comes_after_what_needs_a_look_and_is_not_counted_with_it() -> None:
    unready = [Condition(kind, "False", "RollingOut", ROLLING_OUT) for kind in ("Ready", "WorkersAvailable")]
    hot = queue(Condition("HotThreads", "True", "HeldForLong", "thread 7 is hot"), name="z")
    shown = content([queue(*unready, name="a"), hot], {}, 0)

    assert [each.state for each in shown.rows] == ["needs a look", "rolling out"]
    assert shown.answer == "ShardedQueue shop/z needs a look: thread 7 is hot"


def test_every_condition_is_in_one_list_at_most() -> None:
    """A condition in two of them would be right and wrong at once."""
    lists = [*conditions.NORMAL_TRUE, *conditions.ABNORMAL_TRUE, *conditions.INFORMING]

    assert len(lists) == len(set(lists))
