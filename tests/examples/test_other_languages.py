"""A producer in Node, which knows only docs/wire.md, beside producers and workers in Python."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from sharded_queue import (
    Handler,
    KeyRoute,
    Queue,
    RedisCoordinator,
    RedisStorage,
    Route,
    RuntimeStorage,
    Worker,
    current,
)
from sharded_queue.backends.redis.scripts import source
from sharded_queue.cli.program import main
from sharded_queue.serializer import unpack
from sharded_queue.tube import Shard
from tests.harness.cli_process import CliProcess
from tests.harness.requirements import node
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "other-languages"
WIRE = ROOT / "docs" / "wire.md"
SECONDS = 60
AN_HOUR_AHEAD = "const now = Date.now; Date.now = () => now() + 3600_000"


class Order(NamedTuple):
    customer: str
    number: int


class Foreign:
    """The program in Node, which gets a call a line and answers with its receipts."""

    def __init__(self, script: Path, port: int, *options: str, preload: Path | None = None) -> None:
        flags = ["--require", str(preload)] if preload else []
        words = [node(), *flags, str(EXAMPLE / "producer.mjs"), *options, "--script", str(script)]
        environment = os.environ | {"QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}"}
        self.process = subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def register(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(requests) + "\n")
        answer = self.process.stdout.readline()
        assert answer, f"the program ended with {self.process.wait(SECONDS)}"
        receipts: list[dict[str, Any]] = json.loads(answer)
        return receipts

    def end(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0
        self.process.stdout.close()


Start = Callable[..., Foreign]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """As `sharded-queue script register > register.lua` writes it."""
    done = CliRunner().invoke(main, ["script", "register"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "register.lua"
    path.write_text(done.stdout)
    return path


@pytest.fixture
def start(ask: Ask, redis_server: RedisServer, script: Path) -> Iterator[Start]:
    node()  # a skip belongs to the test, and some tests start the program in an OS thread of their own
    programs: list[Foreign] = []

    def started(*options: str, port: int = redis_server.port, preload: Path | None = None) -> Foreign:
        programs.append(Foreign(script, port, *options, preload=preload))
        return programs[-1]

    yield started
    for program in programs:
        program.end()


def by_thread(customer: str, number: int) -> dict[str, Any]:
    return {"thread": customer, "body": [customer, number]}


def by_key(customer: str, number: int) -> dict[str, Any]:
    return {"key": customer, "body": [customer, number]}


def handled(ask: Ask, handler: type[Handler], count: int) -> None:
    """Let a worker in Python handle *count* requests."""

    async def work(redis: Redis) -> None:
        await Worker(RedisCoordinator(redis), Queue(RedisStorage(redis)), handlers=[handler]).loop(count)

    ask(work)


def test_a_worker_handles_what_node_registered_in_order(
    start: Start, redis_server: RedisServer, tmp_path: Path
) -> None:
    program = start("orders.OrderHandler")
    for number in range(0, 100, 4):
        program.register(*[by_thread(customer, number + step) for step in range(4) for customer in "abcde"])

    environment = {"QUEUE_REDIS_ADDRESS": redis_server.address, "QUEUE_METRICS_PORT": "0"}
    worker = CliProcess("worker", "orders", place=EXAMPLE, environment=environment)
    try:
        for customer in "abcde":
            worker.line(re.compile(rf"^order {customer} 99$"))
    finally:
        worker.kill()
    for customer in "abcde":
        assert [line for line in worker.said if line.startswith(f"order {customer} ")] == [
            f"order {customer} {number}" for number in range(100)
        ]


def test_node_and_python_take_turns_in_one_thread(ask: Ask, start: Start) -> None:
    seen: list[int] = []

    class Turn(Handler):
        name = "foreign.Turn"

        @classmethod
        async def route(cls, *orders: Order) -> list[Route]:
            return [Route(order.customer, priority=3) for order in orders]

        async def perform(self, *orders: Order) -> None:
            seen.extend(order.number for order in orders)

    program = start(Turn.name)
    for number in range(0, 40, 2):
        (receipt,) = program.register({**by_thread("ä/1 ", number), "priority": 3})
        order = Order("ä/1 ", number + 1)
        (own,) = ask(lambda redis, order=order: Queue(RedisStorage(redis)).register(Turn, order))

        assert (receipt["thread"], receipt["priority"], receipt["sequence"]) == (own.tube.thread, 3, own.sequence - 1)

    handled(ask, Turn, 40)
    assert seen == list(range(40))


def test_keys_go_to_the_thread_that_python_places_them_on(ask: Ask, start: Start) -> None:
    """Also when the number of threads changes, which Redis tells to a producer that guessed another one."""
    seen: dict[str, list[int]] = {}

    class Keyed(Handler):
        name, threads = "foreign.Keyed", 8

        @classmethod
        async def route(cls, *orders: Order) -> list[KeyRoute]:
            return [KeyRoute(order.customer) for order in orders]

        async def perform(self, *orders: Order) -> None:
            for order in orders:
                seen.setdefault(order.customer, []).append(order.number)

    def same_place(receipts: list[dict[str, Any]], number: int) -> None:
        orders = [Order(customer, number) for customer in customers]
        own = ask(lambda redis: Queue(RedisStorage(redis)).register(Keyed, *orders))
        assert [receipt["thread"] for receipt in receipts] == [receipt.tube.thread for receipt in own]

    customers = ["ann", "böb", "", "1795", "a key of some length " * 20]
    program = start(Keyed.name, "--threads", "8")
    same_place(program.register(*[by_key(customer, 0) for customer in customers]), 1)
    ask(lambda redis: Queue(RedisStorage(redis)).reshard(Keyed, 32))
    same_place(program.register(*[by_key(customer, 2) for customer in customers]), 3)

    handled(ask, Keyed, 4 * len(customers))
    assert seen == {customer: [0, 1, 2, 3] for customer in customers}


def test_a_request_is_left_out_while_its_identity_is_in_the_window(start: Start) -> None:
    program = start("orders.OrderHandler", "--window-ms", "60000")
    first, other = program.register({**by_thread("a", 1), "identity": "1"}, {**by_thread("a", 2), "identity": "2"})
    again, new, twice = program.register(
        {**by_thread("a", 1), "identity": "1"}, {**by_thread("a", 3), "identity": "3"},
        {**by_thread("a", 3), "identity": "3"},
    )  # fmt: skip

    assert again == {**first, "isDuplicate": True}
    assert (first["sequence"], other["sequence"], new["sequence"]) == (0, 1, 2)
    assert twice == {**new, "isDuplicate": True}


def test_python_recognises_an_identity_that_is_made_as_the_page_says(ask: Ask, start: Start) -> None:
    class Known(Handler):
        name = "foreign.Known"

        @classmethod
        def identity(cls, order: Order) -> str | None:
            return f"no {order.number}" if order.number else None

        async def perform(self, *orders: Order) -> None: ...

    texts = ['["ann",0]', "=no 1"]
    names = [blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]
    receipts = start(Known.name, "--window-ms", "60000").register(
        *[{"thread": "0", "body": ["ann", number], "identity": name} for number, name in enumerate(names)]
    )
    orders = Order("ann", 0), Order("bob", 1)
    own = ask(lambda redis: Queue(RedisStorage(redis)).register(Known, *orders, deduplicate_seconds=60))

    assert [(receipt.sequence, receipt.is_duplicate) for receipt in own] == [(0, True), (1, True)]
    assert [receipt["isDuplicate"] for receipt in receipts] == [False, False]


async def test_shards_are_chosen_as_the_page_says() -> None:
    class ByThread(Handler):
        name, shards = "foreign.ByThread", 4

        @classmethod
        async def route(cls, *threads: str) -> list[Route]:
            return [Route(thread) for thread in threads]

        async def perform(self, *threads: str) -> None: ...

    class ByKey(ByThread):
        name, threads = "foreign.ByKey", 8

        @classmethod
        async def route(cls, *keys: str) -> list[KeyRoute]:  # type: ignore[override]
            return [KeyRoute(key) for key in keys]

    texts, numbered = ["ann", "böb", "7", "a:5", "3:x"], ["3:5", "00:11"]
    sums = [crc32(text.encode()) % 4 for text in texts]

    queue = Queue(RuntimeStorage())
    threads = await queue.register(ByThread, *texts, *numbered)
    keys = await queue.register(ByKey, *texts)
    assert [receipt.tube.shard.tag for receipt in threads] == [f"foreign.ByThread:{n}" for n in [*sums, 1, 3]]
    assert [receipt.tube.shard.tag for receipt in keys] == [f"foreign.ByKey:{n}" for n in sums]


def test_a_tube_without_room_is_named_and_nothing_is_registered(ask: Ask, start: Start) -> None:
    program = start("orders.OrderHandler", "--capacity", "2")
    program.register(by_thread("ann", 1))
    answer: Any = program.register(by_thread("bob", 1), by_thread("ann", 2), by_thread("ann", 3))

    assert answer == {"full": "ann/0 holds 1 requests"}
    assert program.register(by_thread("ann", 2))[0]["sequence"] == 1
    assert ask(lambda redis: redis.llen("tube_{orders.OrderHandler}/bob/0")) == 0


def test_a_delayed_request_is_listed_with_the_number_of_its_receipt(ask: Ask, start: Start) -> None:
    (receipt,) = start("orders.OrderHandler", "--delay-ms", "3600000").register(by_thread("ann", 1))
    (delayed,) = ask(lambda redis: RedisStorage(redis).delayed(Shard("orders.OrderHandler")))

    assert (delayed.sequence, delayed.tube.thread, delayed.body) == (receipt["sequence"], "ann", b'["ann",1]')


def test_headers_reach_the_handler(ask: Ask, start: Start) -> None:
    seen: list[dict[str, str]] = []

    class Headed(Handler):
        name = "foreign.Headed"

        async def perform(self, *orders: Order) -> None:
            seen.extend(map(dict, current().headers))

    start(Headed.name).register({**by_thread("0", 1), "headers": {"origin": "café\n"}})
    handled(ask, Headed, 1)

    assert seen == [{"origin": "café\n"}]


def test_a_script_that_redis_forgot_is_loaded_again(ask: Ask, start: Start) -> None:
    program = start("orders.OrderHandler")
    program.register(by_thread("a", 1))
    ask(lambda redis: redis.script_flush())

    assert program.register(by_thread("a", 2))[0]["sequence"] == 1


def test_a_clock_that_is_an_hour_ahead_is_corrected(ask: Ask, start: Start, tmp_path: Path) -> None:
    (tmp_path / "ahead.cjs").write_text(AN_HOUR_AHEAD)
    start("orders.OrderHandler", preload=tmp_path / "ahead.cjs").register(by_thread("a", 1))

    async def age(redis: Redis) -> float:
        message = await redis.lindex("tube_{orders.OrderHandler}/a/0", 0)  # type: ignore[misc]
        return abs((await redis.time())[0] - unpack(message).registered_ms / 1000)

    assert ask(age) < 10


def test_a_call_whose_answer_was_lost_is_carried_out_once(ask: Ask, start: Start, redis_server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        losing = threading.Thread(target=asyncio.run, args=[lose_an_answer(listener, redis_server.port)])
        losing.start()
        program = start("orders.OrderHandler", port=listener.getsockname()[1])
        receipts = [program.register(by_thread("a", number))[0]["sequence"] for number in range(3)]
        program.end()
        losing.join()

    assert receipts == [0, 1, 2]
    assert ask(lambda redis: redis.llen("tube_{orders.OrderHandler}/a/0")) == 3


async def lose_an_answer(listener: socket.socket, port: int) -> None:
    """Between a program and Redis: cuts its first connection in place of the answer to its second call, once."""
    is_lost, is_over = False, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal is_lost
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", port)
        calls = 0
        while command := await reader.read(2**20):
            to_redis.write(command)
            answer = await from_redis.read(2**20)
            calls += b"EVALSHA" in command
            if calls == 2 and not is_lost:
                is_lost = True
                break
            writer.write(answer)
        else:
            is_over.set()
        writer.close()
        to_redis.close()

    async with await asyncio.start_server(serve, sock=listener):
        await asyncio.wait_for(is_over.wait(), SECONDS)
    assert is_lost


def test_the_command_prints_the_script_that_the_library_runs(script: Path) -> None:
    assert script.read_text() == source("register")


def test_the_page_registers_by_redis_cli_as_printed(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```sh\n(.*?)^```", WIRE.read_text(), re.DOTALL | re.MULTILINE)
    lines = example.replace("redis-cli", f"redis-cli -p {redis_server.port}")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["bash", "-ec", lines]
    done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True)

    assert done.stdout.splitlines()[1] == "0"
    message = ask(lambda redis: redis.lindex("tube_{orders.OrderHandler}/ann/0", 0))
    assert unpack(message).body == b'["ann",1]'


def test_the_page_names_the_format_of_the_data() -> None:
    (number,) = re.findall(r"^local FORMAT = '(\d+)'", source("register"), re.MULTILINE)

    assert f"now it is {number}." in WIRE.read_text()
