"""Which tube of a thread goes first, and how waiting raises a priority."""

import pytest

from tests.contract.medium import Medium, handed


async def test_lower_priority_number_goes_first(medium: Medium) -> None:
    await medium.register("a", "late", priority=7)
    await medium.register("a", "default")
    await medium.register("a", "urgent", priority=-3)
    batch = await medium.bind_one()
    order = [handed(batch)]
    while batch := (await medium.settle(batch, wanted=9)).batch:
        order.append(handed(batch))

    assert order == [["urgent"], ["default"], ["late"]]


async def test_priorities_are_compared_as_numbers(medium: Medium) -> None:
    await medium.register("a", "ten", priority=10)
    await medium.register("a", "nine", priority=9)

    assert handed(await medium.bind_one()) == ["nine"]


async def test_priorities_are_read_anew_before_each_batch(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one(wanted=1)
    await medium.register("a", "urgent", priority=-1)

    batch = (await medium.settle(batch, wanted=1)).batch

    assert handed(batch) == ["urgent"]
    assert handed((await medium.settle(batch, wanted=2)).batch) == ["2", "3"]


async def test_without_ageing_a_low_priority_waits_as_long_as_there_are_others(medium: Medium) -> None:
    await medium.register("a", "low", priority=1)
    await medium.advance(86_400)
    await medium.register("a", "high")

    assert handed(await medium.bind_one()) == ["high"]


@pytest.mark.parametrize(("waited", "first"), [(15, "high"), (25, "high"), (35, "low")])
async def test_a_priority_counts_one_step_less_for_each_time_of_ageing(
    medium: Medium, waited: float, first: str
) -> None:
    """Two steps below, after two of its own the lower number still goes first, and after three it does not."""
    await medium.register("a", "low", "low too", priority=2)
    await medium.advance(waited)
    await medium.register("a", "high")
    (batch,) = await medium.bind(wanted=1, ageing_seconds=10)

    assert handed(batch) == [first]


async def test_priorities_age_while_their_thread_is_held(medium: Medium) -> None:
    await medium.register("a", "low", "low too", priority=1)
    await medium.register("a", "1")
    (batch,) = await medium.bind(wanted=1, ageing_seconds=2)
    order = [handed(batch)]
    await medium.advance(5)
    await medium.register("a", "2", "3")
    while batch := (await medium.settle(batch, wanted=1)).batch:
        order.append(handed(batch))

    assert order[:2] == [["1"], ["low"]]
    assert order.index(["low"]) < order.index(["low too"])
    assert order.index(["2"]) < order.index(["3"])
