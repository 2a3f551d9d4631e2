"""How a person's number of workers begins, is reported, and ends, as timelines."""

from typing import Any

from sharded_queue_operator.resource.conditions import condition
from sharded_queue_operator.resource.pin import pin
from sharded_queue_operator.scaling.policy import Policy


class Told:
    """What the condition says, from one look to the next; *pinned* is what the policy makes of it."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}

    def at(self, seconds: int, number: int | None, ends_after: int | None = None) -> int | None:
        now = f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"
        found = pin(Policy(pinned=number), ends_after, self.status, now)
        old = condition(self.status, "Pinned")
        since = old["lastTransitionTime"] if old.get("status") == found.condition.status else now
        self.status = {"conditions": [{**found.condition._asdict(), "lastTransitionTime": since}], "pin": found.record}
        return found.policy.pinned

    @property
    def reason(self) -> str:
        return str(condition(self.status, "Pinned")["reason"])


def test_a_pin_stays_until_it_is_removed() -> None:
    told = Told()

    assert told.at(0, 3) == 3
    assert told.at(3_000, 3) == 3
    assert condition(told.status, "Pinned")["message"] == "spec.replicas pins 3 workers until it is removed"
    assert told.at(3_001, None) is None
    assert told.reason == "NotPinned"


def test_a_pin_ends_when_its_time_is_over_and_stays_ended() -> None:
    told = Told()
    told.at(0, 3, ends_after=60)

    assert told.at(59, 3, ends_after=60) == 3
    assert told.at(60, 3, ends_after=60) is None
    assert told.reason == "Expired"
    assert told.at(500, 3, ends_after=60) is None


def test_another_pin_begins_anew_after_one_that_ended() -> None:
    told = Told()
    told.at(0, 3, ends_after=60)
    told.at(60, 3, ends_after=60)

    assert told.at(61, 4, ends_after=60) == 4
    assert told.at(120, 4, ends_after=60) == 4
    assert told.at(121, 4, ends_after=60) is None


def test_a_pin_to_none_is_a_pin() -> None:
    assert Told().at(0, 0) == 0


def test_each_number_has_its_own_time() -> None:
    """A number set shortly before the end of another one ended with it."""
    told = Told()
    told.at(0, 5, ends_after=60)

    assert told.at(55, 20, ends_after=60) == 20
    assert told.at(60, 20, ends_after=60) == 20
    assert told.at(115, 20, ends_after=60) is None


def test_the_same_number_again_is_another_pin() -> None:
    """Once ended and removed, it may be set again; it was without effect before."""
    told = Told()
    told.at(0, 20, ends_after=60)
    told.at(60, 20, ends_after=60)
    told.at(61, None, ends_after=60)

    assert told.at(90, 20, ends_after=60) == 20
    assert told.at(149, 20, ends_after=60) == 20


def test_a_pin_that_an_earlier_operator_reported_keeps_its_time() -> None:
    told = Told()
    told.at(0, 3, ends_after=60)
    told.status["pin"] = None

    assert told.at(59, 3, ends_after=60) == 3
    assert told.at(60, 3, ends_after=60) is None
