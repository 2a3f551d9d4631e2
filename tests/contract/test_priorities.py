"""Which tube of a thread goes first, and how waiting raises a priority."""

import pytest

from tests.contract.backend import Backend, handed


async def test_lower_priority_number_goes_first(backend: Backend) -> None:
    await backend.register("a", "late", priority=7)
    await backend.register("a", "default")
    await backend.register("a", "urgent", priority=-3)
    batch = await backend.bind_one()
    order = [handed(batch)]
    while batch := (await backend.settle(batch, wanted=9)).batch:
        order.append(handed(batch))

    assert order == [["urgent"], ["default"], ["late"]]


async def test_priorities_are_compared_as_numbers(backend: Backend) -> None:
    await backend.register("a", "ten", priority=10)
    await backend.register("a", "nine", priority=9)

    assert handed(await backend.bind_one()) == ["nine"]


async def test_priorities_are_read_anew_before_each_batch(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)
    await backend.register("a", "urgent", priority=-1)

    batch = (await backend.settle(batch, wanted=1)).batch

    assert handed(batch) == ["urgent"]
    assert handed((await backend.settle(batch, wanted=2)).batch) == ["2", "3"]


async def test_without_ageing_a_low_priority_waits_as_long_as_there_are_others(backend: Backend) -> None:
    await backend.register("a", "low", priority=1)
    await backend.advance(86_400)
    await backend.register("a", "high")

    assert handed(await backend.bind_one()) == ["high"]


@pytest.mark.parametrize(("waited", "first"), [(15, "high"), (25, "high"), (35, "low")])
async def test_a_priority_counts_one_step_less_for_each_time_of_ageing(
    backend: Backend, waited: float, first: str
) -> None:
    """Two steps below, after two of its own the lower number still goes first, and after three it does not."""
    await backend.register("a", "low", "low too", priority=2)
    await backend.advance(waited)
    await backend.register("a", "high")
    (batch,) = await backend.bind(wanted=1, ageing_seconds=10)

    assert handed(batch) == [first]


async def test_priorities_age_while_their_thread_is_held(backend: Backend) -> None:
    await backend.register("a", "low", "low too", priority=1)
    await backend.register("a", "1")
    (batch,) = await backend.bind(wanted=1, ageing_seconds=2)
    order = [handed(batch)]
    await backend.advance(5)
    await backend.register("a", "2", "3")
    while batch := (await backend.settle(batch, wanted=1)).batch:
        order.append(handed(batch))

    assert order[:2] == [["1"], ["low"]]
    assert order.index(["low"]) < order.index(["low too"])
    assert order.index(["2"]) < order.index(["3"])
