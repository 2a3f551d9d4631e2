"""The Django example: gunicorn in front, a worker behind, and a database file between them."""

import re
import shlex
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.recipe import Recipe, evict, killed
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
ORDERS = 10
SECONDS = 60
CUSTOMERS = ["ann", "bob", "cem"]


class Shop:
    """The README's project, on a free port and with a database of its own."""

    def __init__(self, recipe: Recipe, database: Path) -> None:
        migrate, self.worker_command, server, self.curl_command = recipe.commands
        self.recipe, self.database = recipe, database
        self.worker_command = self.worker_command.removesuffix(" &")
        recipe.run(migrate)
        self.server = recipe.start(server.removesuffix(" &").replace("localhost:8000", "127.0.0.1:0"))
        line = self.server.line(re.compile(r"Listening at: http://127\.0\.0\.1:\d+"))
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", line)[0]

    def place(self, customer: str, **fields: str) -> httpx.Response:
        return httpx.post(f"{self.url}/orders", data={"customer": customer, **fields}, timeout=SECONDS)

    def query(self, question: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(question).fetchall()

    def invoices(self, customer: str) -> list[int]:
        """The numbers of a customer's invoices, in the order of the orders."""
        rows = self.query("SELECT customer, number FROM shop_invoice ORDER BY order_id")
        return [number for name, number in rows if name == customer]


@pytest.fixture
def shop(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> Iterator[Shop]:
    database = tmp_path / "shop.sqlite3"
    with Recipe("django", redis_server, SHOP_DATABASE=str(database)) as recipe:
        yield Shop(recipe, database)


def test_the_commands_of_the_page_write_an_invoice(shop: Shop) -> None:
    worker = shop.recipe.start(shop.worker_command)
    *_, data, url = shlex.split(shop.curl_command)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    placed = httpx.post(url.replace("http://localhost:8000", shop.url), content=data, headers=form, timeout=SECONDS)
    assert placed.status_code == 201

    worker.line("invoice 1 of ann")


def test_invoices_are_numbered_as_orders_were_placed(ask: Ask, shop: Shop) -> None:
    """A worker is killed while customers order side by side, and another one takes over."""
    first = shop.recipe.interrupted(
        "KILL after", "project.worker:shop.handlers.write_invoice", shop.worker_command, QUEUE_WORKER_NAME="first"
    )
    with ThreadPoolExecutor(len(CUSTOMERS)) as pool:
        placing = pool.map(lambda name: [shop.place(name, article="tea") for _ in range(ORDERS)], CUSTOMERS)
        killed(first)
        second = shop.recipe.start(shop.worker_command, QUEUE_WORKER_NAME="second")
        list(placing)
    evict(ask, "shop.handlers.BillHandler", "first")
    for name in CUSTOMERS:
        second.line(f"invoice {ORDERS} of {name}")

    assert {name: shop.invoices(name) for name in CUSTOMERS} == {name: list(range(1, ORDERS + 1)) for name in CUSTOMERS}


def test_an_order_that_is_not_saved_is_not_registered(ask: Ask, shop: Shop) -> None:
    assert shop.place("ann").status_code == 500
    assert shop.query("SELECT count(*) FROM shop_order") == [(0,)]
    assert ask(lambda redis: redis.dbsize()) == 0


PERFORM = """
import os, project.worker
from shop.handlers import Bill, BillHandler

BillHandler().perform(Bill("ann", 1))
with os.scandir("/proc/self/fd") as files:
    print(*[os.path.realpath(file.path) for file in files])
"""


def test_a_handler_leaves_no_connection_open(shop: Shop) -> None:
    shop.place("ann", article="tea")
    said = shop.recipe.run(f"python -c {shlex.quote(PERFORM)}")

    assert shop.invoices("ann") == [1]
    assert str(shop.database) not in said
