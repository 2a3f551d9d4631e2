"""The outbox, in Django and in SQLAlchemy: real processes on a real database, killed where it hurts."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sharded_queue.serializer import body_of, unpack
from tests.harness.cli_process import CliProcess
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "outbox"
KILLED = Path(__file__).parent / "killed.py"
SECONDS = 60
PROGRAMS = {"django": "manage.py", "sqlalchemy": "sqlalchemy_shop.py"}
SETUP = {"django": ("migrate", "--run-syncdb"), "sqlalchemy": ("relay", "--once")}


class Shop:
    """One of the two, with a database and a Redis of its own."""

    def __init__(self, kind: str, folder: Path, redis: RedisServer) -> None:
        self.program = PROGRAMS[kind]
        self.environment = os.environ | {
            "SHOP_DATABASE": str(folder / "shop.sqlite3"),
            "QUEUE_REDIS_ADDRESS": redis.address,
            "QUEUE_METRICS_PORT": "0",
            "PYTHONUNBUFFERED": "1",
        }
        self.run(*SETUP[kind])

    def start(
        self, *words: str, through: Sequence[str] = (), stdout: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *through, self.program, *words]
        return subprocess.Popen(command, cwd=EXAMPLE, env=self.environment, stdout=stdout)

    def run(self, *words: str) -> None:
        assert self.start(*words).wait(SECONDS) == 0

    def is_killed(self, when: str) -> bool:
        """Let a relay be killed as it registers."""
        return self.start("relay", through=[str(KILLED), when]).wait(SECONDS) == -signal.SIGKILL

    def run_relays_until_one_registers(self) -> None:
        """Two at a time, which then get SIGKILL, whatever they are doing."""
        read, write = os.pipe()
        relays = [self.start("relay", stdout=write) for _ in range(2)]
        os.close(write)
        with os.fdopen(read) as said:
            assert said.readline().startswith("registered")
            for relay in relays:
                relay.kill()
                relay.wait()


@pytest.fixture(params=PROGRAMS)
def shop(request: pytest.FixtureRequest, tmp_path: Path, ask: Ask, redis_server: RedisServer) -> Shop:
    return Shop(request.param, tmp_path, redis_server)


def waiting(ask: Ask, customer: str) -> list[int]:
    """The numbers of the registered orders of a customer, in order."""

    async def numbers(redis: Redis) -> list[int]:
        messages = await redis.lrange(f"tube_{{orders.OrderHandler}}/{customer}/0", 0, -1)  # type: ignore[misc]
        return [int(re.findall(rb"\d+", body_of(unpack(message).body))[-1]) for message in messages]

    found: list[int] = ask(numbers)
    return found


def test_a_relay_that_dies_before_it_registers_loses_nothing(ask: Ask, shop: Shop) -> None:
    shop.run("place", *["ann", "bob"] * 3)
    assert shop.is_killed("before")
    assert waiting(ask, "ann") == []

    shop.run("place", "ann")
    shop.run("relay", "--once")
    assert (waiting(ask, "ann"), waiting(ask, "bob")) == ([1, 2, 3, 4], [1, 2, 3])


def test_a_relay_that_dies_before_it_deletes_registers_nothing_twice(ask: Ask, shop: Shop) -> None:
    shop.run("place", *["ann", "bob"] * 3)
    assert shop.is_killed("after")
    assert waiting(ask, "ann") == [1, 2, 3]

    shop.run("place", "ann")
    assert shop.is_killed("after")
    shop.run("relay", "--once")
    assert (waiting(ask, "ann"), waiting(ask, "bob")) == ([1, 2, 3, 4], [1, 2, 3])


@pytest.mark.timeout(300)
def test_the_orders_of_each_customer_are_handled_in_order_whatever_is_killed(ask: Ask, shop: Shop) -> None:
    """Two processes place orders of the same customers, while relays are killed and started again."""
    customers, times, rounds = ["ann", "bob", "cem"], 10, 2
    for _ in range(rounds):
        placing = [shop.start("place", *customers * times) for _ in range(2)]
        shop.run_relays_until_one_registers()
        assert [process.wait(SECONDS) for process in placing] == [0, 0]
    shop.run("relay", "--once")

    numbers = list(range(1, 2 * times * rounds + 1))
    assert {customer: waiting(ask, customer) for customer in customers} == dict.fromkeys(customers, numbers)
    worker = CliProcess("worker", "orders", place=EXAMPLE, environment=shop.environment)
    try:
        for customer in customers:
            worker.line(re.compile(rf"^order {customer} {numbers[-1]}$"))
    finally:
        worker.kill()
    for customer in customers:
        handled = [line for line in worker.said if line.startswith(f"order {customer} ")]
        assert handled == [f"order {customer} {number}" for number in numbers]
