"""What is handed out and shown at once is bounded in bytes as well as in number."""

import pytest

from sharded_queue import Handler, Queue, Route, Worker, settings
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import SerializationError
from sharded_queue.storage import Entry, Registration, Settlement
from sharded_queue.tube import Tube
from tests.contract.backend import SHARD, STAMP, Backend, RedisBackend, bodies

KILOBYTE = "x" * (1024 - STAMP)


@pytest.fixture(autouse=True)
def _four_kilobytes() -> None:
    settings.worker_batch_bytes = 4096


async def test_a_batch_ends_where_its_bytes_are_used_up(backend: Backend) -> None:
    await backend.register("a", *[KILOBYTE] * 6)

    assert len((await backend.bind_one()).messages) == 4


async def test_small_requests_fill_a_batch_up_to_a_large_one(backend: Backend) -> None:
    await backend.register("a", "1", "2", KILOBYTE * 5, "3")

    assert bodies((await backend.bind_one()).messages) == ["1", "2"]


async def test_a_request_larger_than_a_batch_goes_alone(backend: Backend) -> None:
    await backend.register("a", KILOBYTE * 8, "1", "2")

    batch = await backend.bind_one()
    settled = await backend.settle(batch, wanted=128)

    assert len(batch.messages) == 1
    assert settled.batch
    assert bodies(settled.batch.messages) == ["1", "2"]


async def test_what_is_settled_counts_what_was_handed_out(backend: Backend) -> None:
    await backend.register("a", *[KILOBYTE] * 6)
    batch = await backend.bind_one()

    settled = await backend.settle(batch, wanted=128)

    assert settled.batch
    assert len(settled.batch.messages) == 2
    assert (await backend.observe()).depth == 2


async def test_threads_bound_at_once_share_the_bytes(backend: Backend) -> None:
    for thread in "abcd":
        await backend.register(thread, *[KILOBYTE] * 6)

    batches = await backend.bind(threads=4)

    assert [len(batch.messages) for batch in batches] == [1, 1, 1, 1]


async def test_what_a_small_thread_leaves_the_next_may_use(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", *[KILOBYTE] * 6)

    batches = await backend.bind(threads=2)

    assert [len(batch.messages) for batch in batches] == [1, 3]


async def test_threads_without_room_stay_where_they_were(backend: Backend) -> None:
    await backend.register("a", KILOBYTE * 8)
    for thread in "bcd":
        await backend.register(thread, "1")

    first = await backend.bind(threads=4)
    state = await backend.observe()
    second = await backend.bind(threads=4)

    assert [batch.lease.thread for batch in first] == ["a"]
    assert (state.ready, state.bound) == (3, 1)
    assert [batch.lease.thread for batch in second] == ["b", "c", "d"]


async def test_others_are_called_for_threads_without_room(backend: Backend) -> None:
    await backend.register("a", KILOBYTE * 8)
    await backend.register("b", "1")

    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", 2, 128, 15.0))

    assert bound.others_wait
    assert await backend.another_coordinator().wait([SHARD], "w/2", 5.0) == SHARD


async def test_threads_settled_at_once_share_the_bytes(backend: Backend) -> None:
    for thread in "ab":
        await backend.register(thread, "0", *[KILOBYTE] * 6)
    batches = await backend.bind(threads=2, wanted=1)

    settled = await backend.storage.settle(
        [Settlement(batch.lease, 0, batch.last, 0.0, wanted=128) for batch in batches]
    )

    assert [len(answer.batch.messages) for answer in settled if answer.batch] == [2, 2]


async def test_requests_of_many_sizes_come_whole_and_in_order(backend: Backend) -> None:
    texts = [str(number) * (1 + number * number * 37 % 3001) for number in range(60)]
    await backend.register("a", *texts)
    seen: list[str] = []

    batch = (await backend.bind_one(wanted=7)) or None
    while batch:
        assert len(batch.messages) == 1 or sum(map(len, batch.messages)) <= 4096
        seen += bodies(batch.messages)
        batch = (await backend.settle(batch, wanted=7)).batch

    assert seen == texts


async def test_a_delayed_request_counts_by_its_bytes(backend: Backend) -> None:
    entry = Entry("a", 0, [KILOBYTE.encode()] * 6)
    await backend.storage.register(SHARD, Registration([entry], delay_seconds=60))
    await backend.advance(61)

    assert len((await backend.bind_one()).messages) == 4


async def test_a_look_at_a_tube_is_bounded_in_bytes(backend: Backend) -> None:
    await backend.register("a", *[KILOBYTE] * 6)

    page = await backend.storage.peek(Tube(SHARD, "a", 0), 10)
    assert len(page) == 4
    assert len(await backend.storage.peek(Tube(SHARD, "a", 0), 10, after=page[0][0])) == 4


async def test_a_message_that_others_wrote_is_bounded_too(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1", "2", "3")
    stamp = b"%013d" % 1_700_000_000_000
    await on_redis.redis.lset(f"{on_redis.redis_storage.keys.base(SHARD)}/a/0", 1, stamp + KILOBYTE.encode() * 8)

    assert bodies((await on_redis.bind_one()).messages) == ["1"]


async def test_a_worker_gets_on_with_requests_that_fill_many_batches(backend: Backend) -> None:
    sizes: list[int] = []

    class Large(Handler):
        @classmethod
        async def route(cls, *requests: str) -> list[Route]:
            return [Route(thread=request[0]) for request in requests]

        async def perform(self, *requests: str) -> None:
            sizes.append(sum(map(len, requests)))

    queue = Queue(backend.storage)
    await queue.register(Large, *["a" * 3000] * 8, "b", "c")

    assert await Worker(backend.coordinator, queue, handlers=[Large]).loop(10) == 10
    assert max(sizes) <= 4096


async def test_a_request_beyond_the_bound_is_refused_with_its_size(backend: Backend) -> None:
    class Bounded(Handler):
        async def perform(self, *requests: str) -> None: ...

    settings.register_message_bytes = 1000
    queue = Queue(backend.storage)
    refused = r"request 1 for .*Bounded has 1,502 bytes.* QUEUE_REGISTER_MESSAGE_BYTES = 1,000"

    with pytest.raises(SerializationError, match=refused):
        await queue.register(Bounded, "small", "x" * 1500)
    with pytest.raises(SerializationError, match="QUEUE_REGISTER_MESSAGE_BYTES"):
        await queue.schedule(Bounded, "x" * 1500, name="pulse", every_seconds=60)
    with pytest.raises(SerializationError, match="headers included"):
        await queue.register(Bounded, "small", headers={"trace": "x" * 1500})

    (state,) = await backend.storage.observe(Bounded.all_shards())
    assert (state.depth, state.registered, state.schedules) == (0, 0, 0)
