"""Many dead letters are settled in bounded steps, in their order, and a cut between two of them costs nothing."""

from collections.abc import AsyncIterator
from itertools import chain

import pytest

from sharded_queue import letters, steps
from sharded_queue.backends.redis import storage as redis_storage
from sharded_queue.storage import Cause, Target
from tests.contract.backend import SHARD, Backend, RedisBackend, handed

WHY = Cause("ann", "why")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (letters, steps):
        monkeypatch.setattr(module, "STEP_NUMBERS", 2)


async def bury(backend: Backend, thread: str, *bodies: str) -> list[int]:
    await backend.register(thread, *bodies)
    return (await backend.storage.drop(SHARD, thread, WHY)).letters


async def settle(backend: Backend, numbers: list[int], target: Target) -> list[list[int]]:
    return [step async for step in letters.settle(backend.storage, SHARD, numbers, target)]


def begin(backend: Backend, numbers: list[int]) -> AsyncIterator[list[int]]:
    return letters.settle(backend.storage, SHARD, numbers, "head").__aiter__()


async def test_letters_of_several_steps_go_before_what_waits_in_their_order(backend: Backend) -> None:
    numbers = await bury(backend, "a", "1", "2", "3", "4", "5")
    await backend.register("a", "6")

    assert await settle(backend, numbers, "head") == [[5, 4], [3, 2], [1]]
    assert handed(await backend.bind_one()) == ["1", "2", "3", "4", "5", "6"]


async def read(backend: Backend, numbers: list[int]) -> list[list[int]]:
    return [[letter.number for letter in page] async for page in letters.read(backend.storage, SHARD, numbers)]


async def test_letters_are_read_in_the_order_asked_for_and_in_pages(backend: Backend) -> None:
    first, second, third = await bury(backend, "a", "1", "2", "3")

    assert await read(backend, [third, 99, second, first]) == [[third], [second, first]]
    page = await backend.storage.read_letters(SHARD, [first])
    assert [page.letters[0]] == [each for each in await backend.storage.dead(SHARD) if each.number == first]


async def test_page_of_letters_has_a_bound_in_bytes(on_redis: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "STEP_NUMBERS", 500)
    monkeypatch.setattr(redis_storage, "STEP_BYTES", 700)
    numbers = await bury(on_redis, "a", *(letter * 200 for letter in "vwxyz"), "x" * 1000)

    assert [len(page) for page in await read(on_redis, numbers)] == [2, 2, 1, 1]
    assert len(await on_redis.storage.dead(SHARD)) == len(numbers)


async def test_no_worker_gets_the_thread_between_two_steps_to_its_head(backend: Backend) -> None:
    numbers = await bury(backend, "a", "1", "2", "3", "4", "5")
    bound = [await backend.bind() async for _ in letters.settle(backend.storage, SHARD, numbers, "head")]

    assert [list(map(handed, batches)) for batches in bound] == [[], [], [["1", "2", "3", "4", "5"]]]


async def test_a_cut_leaves_the_thread_paused_with_the_reason_and_asking_again_finishes(backend: Backend) -> None:
    numbers = await bury(backend, "a", "1", "2", "3", "4", "5")
    await anext(begin(backend, numbers))
    state = await backend.storage.explain(SHARD, "a")

    assert (await backend.storage.paused(SHARD), await backend.bind()) == (["a"], [])
    assert state.act == "its dead letters are being put back at its head"
    assert await backend.storage.acts(SHARD) == {"a": state.act}
    assert list(chain(*await settle(backend, numbers, "head"))) == [3, 2, 1]
    assert (await backend.storage.paused(SHARD), await backend.storage.acts(SHARD)) == ([], {})
    assert handed(await backend.bind_one()) == ["1", "2", "3", "4", "5"]


async def test_after_a_cut_a_rest_that_fits_into_one_step_finishes_it(backend: Backend) -> None:
    numbers = await bury(backend, "a", "1", "2", "3", "4")
    await anext(begin(backend, numbers))

    assert await settle(backend, numbers, "head") == [[2, 1]]
    assert handed(await backend.bind_one()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("is_paused_before", [True, False])
async def test_a_pause_that_a_person_set_stays(backend: Backend, is_paused_before: bool) -> None:
    numbers = await bury(backend, "a", "1", "2", "3")
    if is_paused_before:
        await backend.storage.pause(SHARD, "a", True)
    replay = begin(backend, numbers)
    await anext(replay)
    assert await backend.storage.pause(SHARD, "a", True) is not is_paused_before
    await anext(replay)

    assert (await backend.storage.paused(SHARD), await backend.storage.acts(SHARD)) == (["a"], {})
    await backend.storage.pause(SHARD, "a", False)
    assert handed(await backend.bind_one()) == ["1", "2", "3"]


async def test_letters_stay_where_a_person_resumed_their_thread_between_two_steps(backend: Backend) -> None:
    """Put back now, they would come behind later ones."""
    numbers = await bury(backend, "a", "1", "2", "3")
    replay = begin(backend, numbers)
    await anext(replay)
    await backend.storage.pause(SHARD, "a", False)
    batch = await backend.bind_one()
    await backend.settle(batch, release=True)

    assert (handed(batch), [step async for step in replay]) == (["2", "3"], [])
    assert await backend.storage.letter_numbers(SHARD) == [1]


async def test_letters_of_a_held_thread_stay_and_it_is_not_paused(backend: Backend) -> None:
    numbers = await bury(backend, "a", "1", "2", "3")
    await backend.register("a", "4")
    batch = await backend.bind_one()

    assert await settle(backend, numbers, "head") == []
    assert (await backend.settle(batch, release=True)).is_released
    assert (await backend.storage.paused(SHARD), await backend.storage.acts(SHARD)) == ([], {})


async def test_small_threads_share_a_step(backend: Backend) -> None:
    numbers = [*await bury(backend, "a", "1"), *await bury(backend, "b", "2"), *await bury(backend, "c", "3", "4")]

    assert await settle(backend, numbers, "head") == [[1, 2], [4, 3]]
    assert [handed(batch) for batch in await backend.bind(threads=3)] == [["1"], ["2"], ["3", "4"]]


@pytest.mark.parametrize("target", ["tail", "drop"])
async def test_letters_go_to_the_tail_or_away_in_steps(backend: Backend, target: Target) -> None:
    numbers = await bury(backend, "a", "1", "2", "3")

    assert await settle(backend, numbers, target) == [[1, 2], [3]]
    assert await backend.waiting("a") == (["1", "2", "3"] if target == "tail" else [])
    assert await backend.storage.letter_numbers(SHARD) == []


async def test_a_step_takes_five_hundred_letters_at_most(backend: Backend) -> None:
    with pytest.raises(ValueError, match="501 numbers are given: at most 500 at once"):
        await backend.storage.settle_dead(SHARD, range(501), "tail")


async def test_numbers_are_in_order_though_many_died_at_once(backend: Backend) -> None:
    await bury(backend, "a", *map(str, range(300)))

    assert await backend.storage.letter_numbers(SHARD) == list(range(1, 301))


@pytest.mark.redis
async def test_a_step_moves_no_more_than_its_bytes(on_redis: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_storage, "STEP_BYTES", 100)
    monkeypatch.setattr(letters, "STEP_BYTES", 100)
    bodies = [str(n) * 90 for n in range(4)]
    numbers = await bury(on_redis, "a", *bodies)

    assert await settle(on_redis, numbers[2:], "head") == [[4], [3]]
    assert await settle(on_redis, numbers[:2], "tail") == [[1], [2]]
    assert await on_redis.waiting("a") == [bodies[2], bodies[3], bodies[0], bodies[1]]
