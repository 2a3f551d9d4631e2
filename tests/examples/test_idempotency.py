"""Payments over HTTP: a worker that dies after the bank has charged, and a producer that registers twice."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.recipe import Recipe, evict, killed
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
WORKER = "sharded-queue worker payments"


class Payments:
    """The example with a bank on a free port."""

    def __init__(self, recipe: Recipe, ask: Ask) -> None:
        bank, *self.commands = recipe.commands
        self.recipe, self.ask = recipe, ask
        line = recipe.start(bank.removesuffix(" &").replace("8000", "0")).line(re.compile(r"running on http://\S+:\d+"))
        self.bank = re.findall(r"http://\S+:\d+", line)[0]
        recipe.environment["BANK_URL"] = self.bank

    def charges(self) -> list[Any]:
        charges: list[Any] = httpx.get(f"{self.bank}/charges", timeout=60).json()
        return charges

    def is_killed_after_paying(self) -> None:
        self.recipe.run("python payments.py ann 500 order-1")
        killed(self.recipe.interrupted("KILL after", "payments.pay", WORKER, QUEUE_WORKER_NAME="killed"))
        evict(self.ask, "payments.ChargeHandler", "killed")
        assert len(self.charges()) == 1
        self.recipe.start(WORKER).line("order-1 is paid by charge")


Open = Callable[..., Payments]


@pytest.fixture
def opened(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    recipes: list[Recipe] = []

    def make(**changes: str) -> Payments:
        parts = {"payments.py": changes} if changes else {}
        recipes.append(Recipe("idempotency", redis_server, copy=tmp_path / "copy", changes=parts))
        return Payments(recipes[-1], ask)

    yield make
    for recipe in recipes:
        recipe.__exit__()


def test_the_commands_of_the_page_charge_once(opened: Open) -> None:
    payments = opened()
    worker, first, again = payments.commands
    said = [payments.recipe.run(first), payments.recipe.run(again)]
    assert said == ["registered", "registered before"]

    payments.recipe.start(worker.removesuffix(" &")).line("order-1 is paid by charge 1")
    assert payments.charges() == [{"account": "ann", "cents": 500}]


def test_a_worker_that_dies_after_the_charge_charges_once(opened: Open) -> None:
    payments = opened()
    payments.is_killed_after_paying()

    assert payments.charges() == [{"account": "ann", "cents": 500}]


def test_without_the_key_the_replay_charges_again(opened: Open) -> None:
    payments = opened(**{", headers=headers": ""})
    payments.is_killed_after_paying()

    assert len(payments.charges()) == 2
