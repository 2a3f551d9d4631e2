"""`SyncQueue` in the servers of others: Flask and Django under gunicorn, with OS threads and with forked processes."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import NamedTuple

import pytest

from sharded_queue import settings
from sharded_queue.serializer import STAMP_DIGITS, body_of
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
ROOT = Path(__file__).parents[2]
SECONDS = 60
CUSTOMERS, ORDERS = "abcdefgh", 30
SERVERS = {
    "threads": ("--workers", "1", "--worker-class", "gthread", "--threads", "8"),
    "processes": ("--workers", "4", "--worker-class", "sync", "--preload"),
}
"""With --preload, all processes are forked from one that has registered already."""


class Server(NamedTuple):
    port: int
    process: "subprocess.Popen[str]"


@contextmanager
def gunicorn(framework: str, options: tuple[str, ...], redis: RedisServer) -> Iterator[Server]:
    command = [sys.executable, "-m", "gunicorn", *options, "--bind", "127.0.0.1:0", f"tests.web.{framework}_app"]
    environment = os.environ | {"QUEUE_REDIS_ADDRESS": redis.address, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        listening = threading.Thread(target=process.stderr.read)  # a full pipe would stop the server
        try:
            port = port_in(process.stderr)
            listening.start()
            yield Server(port, process)
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0
            if listening.ident:
                listening.join()


def port_in(log: Iterable[str]) -> int:
    said: list[str] = []
    for line in log:
        said.append(line)
        if found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(said))


def order(port: int, customer: str, number: int) -> None:
    """One request on a connection of its own: any process may get it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("POST", f"/orders/{customer}/{number}")
    answer = connection.getresponse()
    assert (answer.status, answer.read().isdigit()) == (200, True)
    connection.close()


def waiting(ask: Ask, customer: str) -> list[int]:
    messages = ask(lambda redis: redis.lrange(f"tube_{{web.Order}}/{customer}/{settings.default_priority}", 0, -1))
    return [int(re.search(rb"(\d+)\]", body_of(message[STAMP_DIGITS:]))[1]) for message in messages]  # type: ignore[index]


@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_orders_of_each_customer_keep_their_order(
    framework: str, options: tuple[str, ...], ask: Ask, redis_server: RedisServer
) -> None:
    with gunicorn(framework, options, redis_server) as server, ThreadPoolExecutor(len(CUSTOMERS)) as pool:
        list(pool.map(lambda customer: [order(server.port, customer, number) for number in range(ORDERS)], CUSTOMERS))

    assert {name: waiting(ask, name) for name in CUSTOMERS} == {name: list(range(ORDERS)) for name in CUSTOMERS}
    assert set(waiting(ask, "boot")) == {0}


@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)
def test_new_processes_take_over_without_losing_an_order(
    options: tuple[str, ...], ask: Ask, redis_server: RedisServer
) -> None:
    """A reload while customers order: gunicorn starts new processes, and ends the old ones when they have answered."""
    with gunicorn("flask", options, redis_server) as server:
        for number in range(ORDERS):
            if number == ORDERS // 3:
                server.process.send_signal(signal.SIGHUP)
            try:
                order(server.port, "a", number)
            except (ConnectionError, RemoteDisconnected):  # sent to a process that was ending: it was not accepted
                order(server.port, "a", number)

    assert list(dict.fromkeys(waiting(ask, "a"))) == list(range(ORDERS))
