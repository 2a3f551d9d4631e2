"""Tubes: what goes in comes out in order, is removed by name, and is counted."""

import pytest

from sharded_queue import QueueFull
from sharded_queue.storage import Entry, Registration, Settlement
from sharded_queue.tube import Shard, Tube
from tests.contract.backend import SHARD, STAMP, Backend, bodies, handed


async def test_requests_of_a_tube_come_out_in_the_order_of_registration(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("a", "3")

    assert handed(await backend.bind_one()) == ["1", "2", "3"]


async def test_sequence_numbers_of_a_tube_follow_each_other(backend: Backend) -> None:
    first = await backend.register("a", "1", "2")

    assert await backend.register("a", "3") == first + 2


async def test_a_registration_answers_for_each_of_its_tubes(backend: Backend) -> None:
    entries = [Entry("a", 0, [b"1", b"2"]), Entry("b", 0, [b"3"]), Entry("a", 1, [b"4"])]
    firsts, _ = await backend.storage.register(SHARD, Registration(entries))

    tubes = [("a", 0), ("b", 0), ("a", 1)]
    assert firsts == [(await backend.storage.peek(Tube(SHARD, *tube)))[0][0] for tube in tubes]


async def test_a_tube_that_was_drained_never_gives_a_number_again(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    drained = await backend.bind_one()
    await backend.settle(drained)

    assert await backend.register("a", "4") > drained.last


@pytest.mark.parametrize("capacity", [2, 50])
async def test_registering_is_all_or_nothing(capacity: int, backend: Backend) -> None:
    """On Redis, many small messages come as one argument."""
    await backend.register("full", "1")
    entries = [Entry("empty", 0, [b"2"]), Entry("full", 0, [b"3"] * capacity)]

    with pytest.raises(QueueFull):
        await backend.storage.register(SHARD, Registration(entries, capacity=capacity))

    assert await backend.waiting("empty") == []
    assert (await backend.observe()).depth == 1


async def test_a_full_tube_refuses_and_says_which(backend: Backend) -> None:
    await backend.register("a", "1", "2", capacity=2)

    with pytest.raises(QueueFull, match=r"tests\.Handler/a/0 holds 2 of 2 requests"):
        await backend.register("a", "3", capacity=2)


async def test_more_requests_than_an_empty_tube_may_hold_are_refused(backend: Backend) -> None:
    with pytest.raises(QueueFull, match="holds 0 of 1"):
        await backend.register("a", "1", "2", capacity=1)


async def test_a_full_tube_takes_requests_again_once_it_was_drained(backend: Backend) -> None:
    await backend.register("a", "1", "2", capacity=2)
    await backend.settle(await backend.bind_one())

    await backend.register("a", "3", capacity=2)

    assert await backend.waiting("a") == ["3"]


async def test_peek_leaves_requests_where_they_are(backend: Backend) -> None:
    first = await backend.register("a", "1", "2", "3")

    peeked = await backend.storage.peek(Tube(SHARD, "a", 0), 2)

    assert [sequence for sequence, _ in peeked] == [first, first + 1]
    assert bodies([message for _, message in peeked]) == ["1", "2"]
    assert (await backend.observe()).depth == 3


async def test_peek_reads_on_page_by_page_while_the_tube_moves(backend: Backend) -> None:
    """What is handled or registered between two pages moves no request from one page to another."""
    tube = Tube(SHARD, "a", 0)
    await backend.register("a", *"12345678")
    seen = await backend.storage.peek(tube, 3)
    await backend.settle(await backend.bind_one(wanted=2), release=True)
    await backend.register("a", "9")
    while page := await backend.storage.peek(tube, 3, after=seen[-1][0]):
        seen += page

    assert bodies([message for _, message in seen]) == list("123456789")
    assert [number for number, _ in seen] == list(range(seen[0][0], seen[0][0] + 9))


async def test_peek_behind_a_request_that_was_handled_begins_with_the_first(backend: Backend) -> None:
    first = await backend.register("a", "1", "2", "3")
    await backend.settle(await backend.bind_one(wanted=2), release=True)
    page = await backend.storage.peek(Tube(SHARD, "a", 0), 3, after=first - 5)

    assert bodies([message for _, message in page]) == ["3"]
    assert await backend.storage.peek(Tube(SHARD, "a", 0), 3, after=first + 1000) == []


async def test_peek_into_a_tube_that_does_not_exist_is_empty(backend: Backend) -> None:
    assert await backend.storage.peek(Tube(SHARD, "nobody", 0)) == []


async def test_settling_removes_what_was_handled_and_hands_out_what_comes_next(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=2)

    settled = await backend.settle(batch, wanted=2)

    assert handed(settled.batch) == ["3"]
    assert await backend.waiting("a") == ["3"]


async def test_settling_a_part_leaves_the_rest_at_the_head(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one()

    settled = await backend.settle(batch, through=batch.first, wanted=2)

    assert handed(settled.batch) == ["2", "3"]


async def test_settling_twice_removes_once_and_answers_the_same(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3", "4")
    batch = await backend.bind_one(wanted=2)

    answers = [await backend.settle(batch, wanted=2), await backend.settle(batch, wanted=2)]

    assert answers[0] == answers[1]
    assert await backend.waiting("a") == ["3", "4"]


@pytest.mark.parametrize("release", [False, True])
async def test_what_was_never_handed_out_cannot_be_settled(backend: Backend, release: bool) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)

    settled = await backend.settle(batch, through=batch.first + 2, release=release)

    assert settled.is_lost
    assert await backend.waiting("a") == ["1", "2", "3"]


async def test_another_tube_than_the_one_handed_out_cannot_be_settled(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    sequence = await backend.register("a", "2", priority=1)

    (settled,) = await backend.storage.settle([Settlement(batch.lease, 1, sequence)])

    assert settled.is_lost
    assert await backend.waiting("a", 1) == ["2"]


async def test_a_settlement_with_release_frees_a_drained_thread(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()

    settled = await backend.settle(batch, wanted=2, release=True)

    assert settled.is_released
    assert (await backend.observe()).bound == 0


async def test_a_settlement_with_release_keeps_a_thread_that_has_more(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)

    settled = await backend.settle(batch, wanted=1, release=True)

    assert handed(settled.batch) == ["2"]
    assert (await backend.observe()).bound == 1


async def test_a_settlement_with_release_hands_out_the_next_tube(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("a", "2", priority=1)

    settled = await backend.settle(await backend.bind_one(), wanted=1, release=True)

    assert handed(settled.batch) == ["2"]


@pytest.mark.parametrize("release", [False, True])
async def test_a_lease_that_comes_twice_in_one_call_settles_once(backend: Backend, release: bool) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    settlement = Settlement(batch.lease, through=batch.last, release=release)
    first, second = await backend.storage.settle([settlement, settlement])
    state = await backend.observe()

    assert (first.is_released, second.is_lost) == (release, release)
    assert (state.settled, state.depth) == (1, 0)


async def test_a_thread_released_with_requests_left_is_bound_by_the_next(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one("w/1", wanted=1)
    await backend.settle(batch, wanted=0, release=True)

    assert handed(await backend.bind_one("w/2")) == ["2"]


async def test_one_lost_lease_in_a_call_does_not_spoil_the_others(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "2")
    lost, good = await backend.bind(threads=2)
    await backend.release(lost.lease)

    settled = await backend.storage.settle([Settlement(lost.lease, 0, lost.last), Settlement(good.lease, 0, good.last)])

    assert [one.is_lost for one in settled] == [True, False]
    assert (await backend.waiting("a"), await backend.waiting("b")) == (["1"], [])


@pytest.mark.parametrize("thread", ["with space", "slash/1", "колесо", "{brace}", "a:b", "-1", "x" * 256, "%d", "*"])
async def test_any_printable_text_is_a_thread(backend: Backend, thread: str) -> None:
    await backend.register(thread, "1", "2", priority=-2)
    batch = await backend.bind_one(wanted=1)
    state = await backend.observe()
    await backend.settle(batch, release=True)

    assert batch.lease.thread == thread
    assert [(tube.thread, tube.priority, tube.depth) for tube in state.oldest] == [(thread, -2, 2)]
    assert await backend.waiting(thread, -2) == ["2"]


async def test_any_bytes_are_a_message(backend: Backend) -> None:
    body = bytes(range(256))
    await backend.storage.register(SHARD, Registration([Entry("a", 0, [body])]))

    assert (await backend.bind_one()).messages[0][13:] == body


@pytest.mark.parametrize("times", [1, 8])
async def test_messages_of_any_bytes_and_lengths_come_back_as_they_were(times: int, backend: Backend) -> None:
    """On Redis, many small messages come as one argument."""
    messages = [b"", bytes(range(256)), *[b"\x00" * length for length in (1, 254, 255, 256)], b"1"] * times
    large = [b"x" * 100_000, b"y", b"", b"z" * 65_536] * times
    await backend.storage.register(SHARD, Registration([Entry("a", 0, messages), Entry("b", -5, large)]))

    batches = {batch.lease.thread: batch for batch in await backend.bind(threads=2)}

    assert [message[STAMP:] for message in batches["a"].messages] == messages
    assert [message[STAMP:] for message in batches["b"].messages] == large
    assert (await backend.observe()).depth == len(messages) + len(large)


async def test_shards_know_nothing_of_each_other(backend: Backend) -> None:
    await backend.storage.register(Shard("tests.Other"), Registration([Entry("a", 0, [b"1"])]))
    await backend.register("a", "2")

    assert handed(await backend.bind_one()) == ["2"]
    assert [state.depth for state in await backend.storage.observe([SHARD, Shard("tests.Other")])] == [1, 1]


async def test_ten_thousand_requests_in_one_registration_keep_their_order(backend: Backend) -> None:
    numbers = [str(n) for n in range(10_000)]
    await backend.register("a", *numbers)

    assert handed(await backend.bind_one(wanted=10_000)) == numbers


async def test_a_capacity_does_not_count_delayed_requests(backend: Backend) -> None:
    """Each delayed call fits into the empty tube; together they fill it, and it takes no more."""
    for _ in range(2):
        await backend.storage.register(
            SHARD, Registration([Entry("a", 0, [b"x", b"x"])], capacity=2, delay_seconds=0.001)
        )
    await backend.advance(1)
    await backend.storage.register_due(SHARD)

    assert (await backend.observe()).depth == 4
    with pytest.raises(QueueFull, match="holds 4 of 2 requests, delayed ones not counted"):
        await backend.register("a", "y", capacity=2)
