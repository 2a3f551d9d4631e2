import time

import pytest

from sharded_queue import StorageUnavailable, settings
from sharded_queue.backends.redis import scripts
from sharded_queue.backends.redis.scripts import retry, source


def test_a_script_begins_with_its_flags() -> None:
    assert source("settle").startswith("#!lua flags=allow-oom\nlocal base, lock = KEYS[1], KEYS[2]\n")


@pytest.mark.parametrize(
    ("script", "function", "is_needed"),
    [
        ("renew", "records_of", True),
        ("renew", "hand_out", False),
        ("bind", "hand_out", True),
        ("bind", "reconcile_length", True),
        ("renew", "rarely", True),
        ("peek", "rarely", False),
        ("bind", "promote_ripe", True),
        ("bind", "schedule_of", False),
    ],
)
def test_a_script_carries_what_it_needs_of_the_prelude(script: str, function: str, is_needed: bool) -> None:
    """Also what only those functions need that it names, as `reconcile_length`, which is called by `hand_out` alone."""
    assert (f"local function {function}(" in source(script)) == is_needed


async def test_an_event_loop_that_stood_still_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when the time was over, but had not been read."""

    async def answer(is_resent: bool) -> str:
        if is_resent:
            return "settled"
        time.sleep(0.3)  # noqa: ASYNC251 - as a handler does that blocks the event loop
        raise TimeoutError

    monkeypatch.setattr(scripts, "STANDSTILL_SECONDS", 0.1)
    settings.redis_timeout = 0.05

    assert await retry(answer, 0.2) == "settled"


async def test_a_redis_that_stays_away_is_asked_once_more_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(is_resent: bool) -> None:
        tries.append(is_resent)
        time.sleep(0.3)  # noqa: ASYNC251 - as a handler does that blocks the event loop
        raise TimeoutError

    tries: list[bool] = []
    monkeypatch.setattr(scripts, "STANDSTILL_SECONDS", 0.1)
    settings.redis_timeout = 0.05

    with pytest.raises(StorageUnavailable):
        await retry(fail, 0.2)
    assert tries == [False, True]
