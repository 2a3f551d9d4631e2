"""The pages on moving from another queue: what they print for this side runs, and the ways over keep the order."""

import ast
import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisCoordinator, RedisOptions, RedisStorage, SyncQueue, Worker, settings
from sharded_queue.cli.program import main
from sharded_queue.testing import Sandbox
from tests.harness.pages import DOCS, blocks, printed
from tools.redis_server import RedisServer

PAGES = sorted(page.name for page in (DOCS / "migration").glob("*.md"))


class Side(NamedTuple):
    """This side: a producer that is not async, and workers."""

    producer: SyncQueue
    queue: Queue
    client: Redis

    async def call(self, function: Callable[..., Any], *words: Any) -> Any:
        """In an OS thread, as a program that is not async calls it."""
        return await asyncio.to_thread(function, *words)

    async def handle(self, handler: type[Handler], count: int) -> None:
        async with asyncio.timeout(20):
            await Worker(RedisCoordinator(self.client), self.queue, handlers=[handler]).loop(count)

    async def depth(self, handler: type[Handler]) -> int:
        return sum(state.depth for state in await RedisStorage(self.client).observe(handler.all_shards()))


@pytest.fixture
async def side(redis_server: RedisServer) -> AsyncIterator[Side]:
    client = Redis(port=redis_server.port)
    await client.flushall()
    settings.redis_address = (redis_server.address,)
    with SyncQueue(RedisOptions((redis_server.address,))) as producer:
        yield Side(producer, Queue(RedisStorage(client)), client)
    await client.aclose()


@pytest.mark.parametrize("page", PAGES)
def test_code_for_the_other_side_is_at_least_code(page: str) -> None:
    for block in blocks(f"migration/{page}", "python", is_run=False):
        compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.redis
async def test_celery(side: Side) -> None:
    page = printed("migration/celery.md", "from_celery")
    for cents in (500, 80):
        await side.call(page["post"], side.producer, 7, cents)
    await side.handle(page["PostEntry"], 2)

    assert page["ledger"] == {7: 580}


@pytest.mark.redis
async def test_rq(side: Side) -> None:
    page = printed("migration/rq.md", "from_rq")
    for text in ("first", "second"):
        await side.call(page["send"], side.producer, "ann", text)
    await side.handle(page["DeliverHandler"], 2)

    assert page["mailboxes"] == {"ann": ["first", "second"]}


async def test_arq() -> None:
    page = printed("migration/arq.md", "from_arq")
    radio = page["Radio"]()
    sandbox = Sandbox(shared=radio)
    await page["switch_on"](sandbox.queue, "d7")
    assert await sandbox.run() == 0
    sandbox.advance(60)

    assert await sandbox.run() == 1
    assert radio.sent == [("d7", "on")]


async def test_bullmq() -> None:
    page, sandbox = printed("migration/bullmq.md", "from_bullmq"), Sandbox()
    for path in ("/", "/pricing"):
        await page["track"](sandbox.queue, "user-7", path)
    handler, event = page["TrackHandler"], page["Event"]("user-7", "/pricing")

    assert await sandbox.run() == 2
    assert page["events"] == {"user-7": ["/", "/pricing"]}
    assert f"`{handler.serializer().encode_all([event])[0].decode()}`" in (DOCS / "migration" / "bullmq.md").read_text()


class Sqs:
    """A message group as SQS has it: what was received and not deleted comes again, before everything behind it."""

    def __init__(self, *bodies: str) -> None:
        self.messages = [
            {"MessageId": f"m{n}", "ReceiptHandle": f"r{n}", "Body": body} for n, body in enumerate(bodies)
        ]
        self.forgets_to_delete = False

    def receive_message(self, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:  # noqa: N803 - as AWS has it
        return {"Messages": self.messages[:MaxNumberOfMessages]}

    def delete_message_batch(self, Entries: list[dict[str, str]], **_: Any) -> None:  # noqa: N803 - as AWS has it
        if self.forgets_to_delete:
            raise ConnectionError
        gone = {entry["ReceiptHandle"] for entry in Entries}
        self.messages = [message for message in self.messages if message["ReceiptHandle"] not in gone]


@pytest.mark.redis
async def test_sqs_fifo_by_a_bridge_that_dies_before_it_deletes(side: Side) -> None:
    page = printed("migration/sqs-fifo.md", "from_sqs")
    sqs = Sqs(*[json.dumps({"device": "d7", "number": number}) for number in range(15)])
    bridge = partial(side.call, page["forward_once"], sqs, "url", side.producer)

    sqs.forgets_to_delete = True
    with pytest.raises(ConnectionError):
        await bridge()
    sqs.forgets_to_delete = False
    while await bridge():
        pass
    await side.call(page["send"], side.producer, page["Reading"]("d7", 15))
    await side.call(page["send"], side.producer, page["Reading"]("d7", 15))
    await side.handle(page["ReadingHandler"], 16)

    assert page["readings"] == {"d7": list(range(16))}
    assert await side.depth(page["ReadingHandler"]) == 0


async def test_sharded_queue_0_2_registers() -> None:
    page, sandbox = printed("migration/sharded-queue-0.2.md", "from_0_2"), Sandbox()
    await page["remind"](sandbox.queue)
    sandbox.advance(60)

    assert await sandbox.run() == 1
    assert page["notes"] == ["hello"]


@pytest.mark.redis
async def test_sharded_queue_0_2_serves_until_a_signal(side: Side) -> None:
    page = printed("migration/sharded-queue-0.2.md", "from_0_2")
    handled = asyncio.Event()

    async def handle(self: Handler, *requests: Any) -> None:
        handled.set()

    page["NotifyHandler"].handle = handle
    await side.queue.register(page["NotifyHandler"], page["Note"](7, "hello"))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(page["serve"]())
        await handled.wait()
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.redis
async def test_what_the_old_worker_forwards_keeps_its_order_and_comes_once(side: Side) -> None:
    """The old queue runs a job again whose worker died before it could say that it was done."""
    page = printed("migration/README.md", "shop")
    done = observed(page["OrderHandler"])
    old = [(f"job {number}", page["Order"]("ann", number)) for number in range(6)]
    for job in (*old[:3], *old[1:]):
        await side.call(page["forward"], side.producer, *job)
    await side.queue.register(page["OrderHandler"], page["Order"]("ann", 6))
    await side.handle(page["OrderHandler"], 7)

    assert done == list(range(7))
    assert await side.depth(page["OrderHandler"]) == 0


@pytest.mark.redis
async def test_what_finds_no_room_is_forwarded_later(side: Side) -> None:
    """The old task does not fail: its queue would drop the job, or retry it behind others."""
    page = printed("migration/README.md", "shop")
    handler, order = page["OrderHandler"], page["Order"]
    handler.capacity, done = 1, observed(page["OrderHandler"])
    is_refused, has_room = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        is_refused.set()
        has_room.wait(20)

    page["sleep"] = sleep
    await side.call(page["forward"], side.producer, "job 0", order("ann", 0))
    forwarding = asyncio.create_task(side.call(page["forward"], side.producer, "job 1", order("ann", 1)))
    assert await asyncio.to_thread(is_refused.wait, 20)
    await side.handle(handler, 1)
    has_room.set()
    await forwarding
    await side.handle(handler, 1)

    assert done == [0, 1]


@pytest.mark.redis
@pytest.mark.parametrize("thread", [(), ("ann",)], ids=["all threads", "one thread"])
async def test_held_requests_wait_for_the_old_queue(side: Side, thread: tuple[str, ...]) -> None:
    """With the commands as printed, given before the first request."""
    page = printed("migration/README.md", "shop")
    handler = page["OrderHandler"]
    done = observed(handler)
    await side.call(typed, "pause", "--force", "shop.OrderHandler", *thread)
    await side.queue.register(handler, page["Order"]("ann", 3), page["Order"]("ann", 4))
    worker = Worker(RedisCoordinator(side.client), side.queue, handlers=[handler])
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.loop(2))
        await side.queue.register(handler, page["Order"]("ann", 5))
        done += [1, 2]  # what the old workers drain meanwhile
        await side.call(typed, "resume", "shop.OrderHandler", *thread)

    assert done[:4] == [1, 2, 3, 4]


def test_a_key_goes_one_way_and_stays_moved_as_the_share_grows() -> None:
    page = printed("migration/README.md", "shop")
    customers = [f"customer {number}" for number in range(1000)]

    moved: set[str] = set()
    for percent in (0, 10, 50, 100):
        page["MOVED_PERCENT"] = percent
        now = {customer for customer in customers if page["is_moved"](customer)}
        assert moved <= now
        assert abs(len(now) - 10 * percent) <= 50
        moved = now


def observed(handler: type[Handler]) -> list[int]:
    done: list[int] = []

    def perform(self: Handler, *orders: Any) -> None:
        done.extend(order.number for order in orders)

    handler.perform = perform  # type: ignore[method-assign]
    return done


def typed(*words: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
