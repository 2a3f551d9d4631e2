"""What a module gives `sharded-queue worker` besides handlers, in the real process: middleware, a lifespan, logs."""

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
