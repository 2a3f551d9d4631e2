"""Shards that do not answer a look are left out for a while, and no longer than their silences account for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest

from sharded_queue.coordinator import Coordinator, Outlook
from sharded_queue.tube import Shard
from sharded_queue.worker import lookout
from sharded_queue.worker.lookout import Lookout

SLOW, SOUND = Shard("a.Slow"), Shard("a.Sound")


class Looks:
    """A coordinator of which one shard answers only if it *answers*. *asked*: the shards of each look."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Shard]] = []
        self.answers = False

    async def look(self, shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        self.asked.append(shards)
        return {shard: Outlook(False, None) for shard in shards if shard == SOUND or self.answers}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"now": 1000.0}
    monkeypatch.setattr(lookout, "time", cast(Any, type("Clock", (), {"monotonic": staticmethod(lambda: now["now"])})))
    return now


async def silences(looks: Looks, seconds: float, clock: dict[str, float]) -> list[float]:
    """When the slow shard was asked, of a look each tenth of a second."""
    watching, asked = Lookout(cast(Coordinator, looks)), []
    began = clock["now"]
    for _ in range(round(seconds * 10)):
        await watching.look([SLOW, SOUND])
        if SLOW in looks.asked[-1]:
            asked.append(round(clock["now"] - began, 1))
        clock["now"] += 0.1
    return asked


async def test_a_shard_that_hangs_holds_up_the_others_ever_more_rarely(clock: dict[str, float]) -> None:
    asked = await silences(Looks(), 60, clock)
    pauses = [after - before for before, after in pairwise(asked)]

    assert pauses[:7] == pytest.approx([1, 2, 4, 8, 10, 10, 10], abs=0.11)


async def test_a_shard_that_was_slow_once_is_looked_at_again_soon(clock: dict[str, float]) -> None:
    """It was left out for ten seconds, in which nobody saw that a lease in it had ended."""
    looks = Looks()
    watching = Lookout(cast(Coordinator, looks))
    await watching.look([SLOW, SOUND])
    looks.answers = True
    clock["now"] += 1.01

    assert SLOW in await watching.look([SLOW, SOUND])
    looks.answers = False
    await watching.look([SLOW, SOUND])
    clock["now"] += 1.01
    await watching.look([SLOW, SOUND])
    assert [SLOW in shards for shards in looks.asked] == [True, True, True, True], "its silences begin anew"


async def test_where_nobody_answers_all_are_asked_again(clock: dict[str, float]) -> None:
    """Then it is not a shard that is slow: Redis is away, or this process stood still."""
    looks = Looks()
    watching = Lookout(cast(Coordinator, looks))
    for _ in range(2):
        assert await watching.look([SLOW]) == {}

    assert looks.asked == [[SLOW], [SLOW]]
