"""Webhooks to a receiver that fails for a while, is slow, or refuses an event for good."""

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.examples.recipe import Recipe
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
EVENTS = 6
Judge = Callable[[str, str, int], int]
"""Given a customer, an event and the number of the try: the status to answer, or 0 for no answer in time."""


class Customers:
    """Receives the events of all customers, each at a path of their own."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.received: list[tuple[str, str]] = []
        self.ids: dict[tuple[str, str], set[str]] = {}
        self.tries: Counter[tuple[str, str]] = Counter()
        self.news = threading.Condition()
        self.is_closing = threading.Event()
        customers = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                status = customers.receive(self.path[1:], body, self.headers["webhook-id"])
                if not status:
                    customers.is_closing.wait(60)
                    return
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.server.serve_forever).start()

    def receive(self, customer: str, event: str, event_id: str) -> int:
        with self.news:
            self.tries[customer, event] += 1
            self.ids.setdefault((customer, event), set()).add(event_id)
            status = self.judge(customer, event, self.tries[customer, event])
            if status == 204:
                self.received.append((customer, event))
                self.news.notify_all()
            return status

    def wait_for(self, customer: str, event: str) -> None:
        with self.news:
            assert self.news.wait_for(lambda: (customer, event) in self.received, 30), self.received

    def of(self, customer: str) -> list[str]:
        return [event for name, event in self.received if name == customer]

    def close(self) -> None:
        self.is_closing.set()
        self.server.shutdown()
        self.server.server_close()


class Webhooks:
    def __init__(self, recipe: Recipe, customers: Customers) -> None:
        self.recipe, self.customers = recipe, customers
        _, worker, _ = recipe.commands
        self.worker = recipe.start(worker.removesuffix(" &"))

    def register(self, customer: str, count: int = EVENTS) -> None:
        url = f"http://127.0.0.1:{self.customers.server.server_port}/{customer}"
        self.recipe.run(f"python webhooks.py {customer} {url} {' '.join(map(str, range(count)))}")


Open = Callable[..., Webhooks]


@pytest.fixture
def opened(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens the example with short back-offs and time-outs, and customers that answer as *judge* says."""
    ending: list[Callable[[], None]] = []

    def make(judge: Judge, tries: int = 4) -> Webhooks:
        changes = {
            "webhooks.py": {
                "limit=12, base_seconds=5, cap_seconds=3600": f"limit={tries}, base_seconds=0.05, cap_seconds=0.2",
                "TIMEOUT_SECONDS = 10.0": "TIMEOUT_SECONDS = 0.5",
            }
        }
        customers = Customers(judge)
        recipe = Recipe("webhooks", redis_server, copy=tmp_path / "copy", changes=changes)
        ending.extend([customers.close, recipe.__exit__])
        return Webhooks(recipe, customers)

    yield make
    for end in reversed(ending):
        end()


def test_the_commands_of_the_page_deliver_two_events(ask: Ask, redis_server: RedisServer) -> None:
    with Recipe("webhooks", redis_server) as recipe:
        receiving, worker, registering = recipe.commands
        receiver = recipe.start(receiving.removesuffix(" &").replace("8000", "0"))
        port = receiver.line("listening on port").split()[-1]
        recipe.start(worker.removesuffix(" &"))
        recipe.run(registering.replace("8000", port))
        receiver.line('received {"paid": 2}')

        assert [line for line in receiver.said if "received" in line] == [f'received {{"paid": {n}}}' for n in (1, 2)]


def test_a_customer_who_fails_gets_all_events_in_order_and_holds_up_nobody(opened: Open) -> None:
    is_bob_served = threading.Event()
    webhooks = opened(lambda customer, *_: 204 if customer == "bob" or is_bob_served.is_set() else 500, tries=1000)
    webhooks.register("ann")
    webhooks.register("bob")
    webhooks.customers.wait_for("bob", str(EVENTS - 1))
    is_bob_served.set()
    webhooks.customers.wait_for("ann", str(EVENTS - 1))

    assert webhooks.customers.received == [(name, str(n)) for name in ("bob", "ann") for n in range(EVENTS)]


def test_an_event_in_the_middle_is_tried_again_and_those_before_it_are_not(opened: Open) -> None:
    webhooks = opened(lambda _, event, number: 503 if event == "3" and number < 3 else 204)
    webhooks.register("ann")
    webhooks.customers.wait_for("ann", str(EVENTS - 1))

    assert webhooks.customers.of("ann") == [str(number) for number in range(EVENTS)]


def test_a_customer_who_limits_the_rate_is_left_alone_for_as_long_as_they_say(opened: Open) -> None:
    """However often: with one try an event would be dead after the first 429, if that counted."""
    asked: list[float] = []

    def judge(_: str, event: str, number: int) -> int:
        if event == "2":
            asked.append(time.monotonic())
        return 429 if event == "2" and number <= 2 else 204

    webhooks = opened(judge, tries=1)
    webhooks.register("ann")
    webhooks.customers.wait_for("ann", str(EVENTS - 1))

    assert webhooks.customers.of("ann") == [str(number) for number in range(EVENTS)]
    assert [later - earlier >= 1 for earlier, later in itertools.pairwise(asked)] == [True, True]


def test_an_event_for_a_closed_address_is_given_up_at_once(opened: Open) -> None:
    webhooks = opened(lambda _, event, __: 410 if event == "2" else 204)
    webhooks.register("ann")
    webhooks.customers.wait_for("ann", str(EVENTS - 1))

    assert webhooks.customers.of("ann") == ["0", "1", "3", "4", "5"]
    assert webhooks.customers.tries["ann", "2"] == 1
    assert "the customer has closed this address" in webhooks.recipe.run(
        "sharded-queue dead list webhooks.WebhookHandler"
    )


def test_an_answer_that_comes_too_late_counts_as_none(opened: Open) -> None:
    webhooks = opened(lambda _, event, number: 0 if event == "1" and number == 1 else 204)
    webhooks.register("ann")
    webhooks.customers.wait_for("ann", str(EVENTS - 1))

    assert webhooks.customers.of("ann") == [str(number) for number in range(EVENTS)]
    assert {len(ids) for ids in webhooks.customers.ids.values()} == {1}  # tried again under the same webhook-id


def test_an_event_that_is_refused_for_good_is_a_dead_letter_and_can_be_replayed(opened: Open) -> None:
    is_cured = threading.Event()
    webhooks = opened(lambda _, event, __: 500 if event == "2" and not is_cured.is_set() else 204)
    webhooks.register("ann")
    webhooks.customers.wait_for("ann", str(EVENTS - 1))
    assert webhooks.customers.of("ann") == ["0", "1", "3", "4", "5"]
    dead = webhooks.recipe.run("sharded-queue dead list webhooks.WebhookHandler")
    assert re.search("500 Internal Server Error", dead), dead

    is_cured.set()
    webhooks.recipe.run("sharded-queue dead replay webhooks.WebhookHandler --all")
    webhooks.customers.wait_for("ann", "2")
