"""What a module gives `sharded-queue worker` besides handlers, in the real process: middleware, a lifespan, logs."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sharded_queue import Handler, Route, SyncQueue, settings
from tests.harness.cli_process import CliProcess
from tools.redis_server import Ask

pytestmark = pytest.mark.redis

ORDERS = """
import logging
from contextlib import asynccontextmanager

from sharded_queue import Handler, Middleware, shared

class Pool:
    name = "pool"

class Order(Handler):
    name = "orders.Order"

    @classmethod
    async def create(cls):
        print("create with", shared(Pool).name)
        return cls()

    async def perform(self, *requests: int):
        logging.getLogger("shop").warning("order %s", requests)

    async def stop(self):
        print("stop with", shared(Pool).name)

class Prints(Middleware):
    async def handle(self, handler, requests, call_next):
        print("before", handler.name, requests)
        await call_next()

worker_middleware = [Prints()]

@asynccontextmanager
async def worker_lifespan():
    print("open")
    yield Pool()
    print("close")
"""

LOGGING = """
import asyncio
import logging

from sharded_queue import Handler, Retry, current

log = logging.getLogger("shop")

class Order(Handler):
    name = "orders.Order"
    retry = Retry(limit=5, base_seconds=0.01, cap_seconds=0.01)

    async def perform(self, *requests: int):
        if 7 in requests and current().attempt == 1:
            log.warning("order %s", requests)
            raise ValueError("not yet")
        if 7 in requests:
            log.warning("order %s", requests[:1])
        if 8 in requests:
            await asyncio.to_thread(log.warning, "order %s in an OS thread", requests)
"""
STOPPING = """
    async def stop(self):
        log.warning("bye")
"""

Start = Callable[..., CliProcess]


class Order(Handler):
    name = "orders.Order"

    @classmethod
    async def route(cls, *requests: int) -> list[Route]:
        return [Route("a", 3) for _ in requests]

    async def perform(self, *requests: int) -> None: ...


@pytest.fixture
def queue(ask: Ask) -> Iterator[SyncQueue]:
    with SyncQueue() as queue:
        yield queue


@pytest.fixture
def start(ask: Ask, tmp_path: Path) -> Iterator[Start]:
    """Starts `sharded-queue worker orders` on the text of that module."""
    programs: list[CliProcess] = []

    def start(text: str, *words: str) -> CliProcess:
        (tmp_path / "orders.py").write_text(text)
        environment = {"QUEUE_METRICS_PORT": "0", "QUEUE_REDIS_ADDRESS": settings.redis_address[0]}
        programs.append(CliProcess("worker", "orders", *words, place=tmp_path, environment=environment))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


def test_a_worker_runs_inside_the_lifespan_and_behind_the_middleware_of_its_module(
    start: Start, queue: SyncQueue
) -> None:
    queue.register(Order, 7)
    worker = start(ORDERS)
    worker.line("order (7,)")
    worker.tell(signal.SIGTERM)

    assert worker.ended() == 0
    printed = [line for line in worker.said if re.match("open|create|before|stop with|close", line)]
    assert printed == ["open", "create with pool", "before orders.Order (7,)", "stop with pool", "close"]


def test_a_lifespan_that_cannot_begin_ends_the_worker_in_one_sentence(start: Start, queue: SyncQueue) -> None:
    queue.register(Order, 7)
    worker = start(ORDERS.replace('print("open")', 'raise ConnectionError("no database")'))

    assert worker.ended() == 1
    assert "Error: the lifespan worker_lifespan cannot begin: ConnectionError: no database" in worker.said
    assert "Traceback" not in worker.text
    assert "create" not in worker.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ORDERS.replace("[Prints()]", "[Prints]"), "give an instance, Prints()"),
        (ORDERS.replace("[Prints()]", "Prints()"), "orders.worker_middleware is"),
        (ORDERS + "\nworker_lifespan = worker_lifespan()", "give the function or class itself"),
        (
            ORDERS.replace("async def handle", "def handle").replace("await ", ""),
            "Prints.handle must be an `async def`",
        ),
    ],
    ids=["class", "no-list", "called", "not-async"],
)
def test_a_wrong_hook_is_an_error_at_the_start(start: Start, text: str, message: str) -> None:
    worker = start(text)

    assert worker.ended() in (1, 2)
    assert message in worker.text


def test_a_mistyped_hook_is_named(start: Start) -> None:
    worker = start(ORDERS.replace("worker_lifespan", "worker_lifepsan"))

    worker.line("orders.worker_lifepsan has no effect; did you mean worker_lifespan?")


MISSPELT = ORDERS.replace("class Order(Handler):\n", "class Order(Handler):\n    timeout = 5\n")
HINT = "orders.Order.timeout has no effect; did you mean timeout_seconds?"


def test_a_misspelt_attribute_of_a_handler_is_named(start: Start) -> None:
    start(MISSPELT).line(HINT)


@pytest.mark.parametrize(
    ("text", "hint"),
    [(MISSPELT, HINT), (ORDERS.replace("worker_lifespan", "worker_lifepsan"), "did you mean worker_lifespan?")],
    ids=["attribute", "hook"],
)
def test_a_strict_worker_refuses_what_is_misspelt(start: Start, text: str, hint: str) -> None:
    worker = start(text, "--strict")

    assert worker.ended() == 2
    assert worker.said[-1].startswith("Error: ")
    assert hint in worker.said[-1]


CHANGED = """
from sharded_queue import Handler

class Order(Handler):
    name = "orders.Order"

    async def perform(self, *requests: int):
        print("handled", requests)
        Order.ageing_seconds = Order.timeout_seconds = "soon"
"""


def test_a_worker_outlives_a_handler_whose_attributes_became_nonsense(start: Start, queue: SyncQueue) -> None:
    class OrderElsewhere(Order):
        name = Order.name

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route("b") for _ in requests]

    queue.register(Order, 7)
    worker = start(CHANGED)
    worker.line("handled (7,)")
    queue.register(OrderElsewhere, 8)

    worker.line("handled (8,)")
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0
    assert "orders.Order.ageing_seconds was set to 'soon', and is ignored" in worker.text


def test_lines_of_a_handler_say_as_json_which_requests_it_has(start: Start, queue: SyncQueue) -> None:
    """On each try, also in an OS thread of the handler; and no longer once the batch is done."""
    receipts = queue.register(Order, 7, 8)
    worker = start(LOGGING, "--log-format", "json")
    worker.line("in an OS thread")
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0

    lines = [json.loads(line) for line in worker.said if line.startswith("{")]
    tries = [line for line in lines if line["logger"] == "shop"]
    numbers = [(line["priority"], line["request"], line["requests"], line["attempt"]) for line in tries]
    first = receipts[0].sequence
    assert numbers == [(3, first, 2, 1), (3, first, 1, 1), (3, first, 1, 2), (3, first + 1, 1, 1)]
    assert {(line["handler"], line["thread"]) for line in tries} == {("orders.Order", "a")}
    assert all(line["worker"].partition("/")[0] for line in tries)
    assert tries[0]["fence"] == tries[1]["fence"] < tries[2]["fence"]
    (last,) = (line for line in lines if line["message"].startswith("stopped after"))
    assert not last.keys() & {"handler", "request", "attempt", "fence"}


def test_a_line_of_a_lingering_thread_names_no_request(start: Start, queue: SyncQueue) -> None:
    queue.register(Order, 8)
    worker = start(LOGGING + STOPPING, "--log-format", "json")

    line = json.loads(worker.line("bye"))
    assert (line["handler"], line["thread"]) == ("orders.Order", "a")
    assert not line.keys() & {"request", "requests", "attempt"}
