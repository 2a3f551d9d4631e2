"""The FastAPI example, under uvicorn."""

import re
import shlex
import signal
from collections.abc import Iterator

import httpx
import pytest

from sharded_queue import RedisStorage
from sharded_queue.storage import Cause
from sharded_queue.tube import Shard
from tests.examples.recipe import Recipe
from tests.harness.cli_process import CommandProcess
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
SECONDS = 60


class Shop:
    """The README's service, on a free port."""

    def __init__(self, recipe: Recipe) -> None:
        self.worker_command, service, *self.calls, self.page, self.show, self.replay = recipe.commands
        self.recipe = recipe
        self.service, self.url = self.serve(service)

    def serve(self, command: str) -> tuple[CommandProcess, str]:
        """On a free port."""
        service = self.recipe.start(re.sub(r"--port \d+ &", "--port 0", command))
        line = service.line(re.compile(r"running on http://\S+:\d+"))
        (port,) = re.findall(r"running on http://\S+:(\d+)", line)
        return service, f"http://127.0.0.1:{port}"

    def worker(self) -> CommandProcess:
        return self.recipe.start(self.worker_command.removesuffix(" &"))

    def curl(self, command: str) -> httpx.Response:
        """What curl would send."""
        _, *options, url = shlex.split(command)
        address = url.replace("http://localhost:8000", self.url)
        if not options:
            return httpx.get(address, timeout=SECONDS)
        name, body = options
        assert name == "--json"
        return httpx.post(address, content=body, headers={"Content-Type": "application/json"}, timeout=SECONDS)

    def place(self, customer: str, article: str) -> httpx.Response:
        return httpx.post(f"{self.url}/orders", json={"customer": customer, "article": article}, timeout=SECONDS)


@pytest.fixture
def shop(ask: Ask, redis_server: RedisServer) -> Iterator[Shop]:
    with Recipe("fastapi", redis_server, QUEUE_REDIS_RETRY="0.2", QUEUE_REDIS_TIMEOUT="1") as recipe:
        yield Shop(recipe)


def test_the_commands_of_the_page_place_an_order(shop: Shop) -> None:
    worker = shop.worker()
    placing, asking = shop.calls
    placed = shop.curl(placing)
    assert placed.status_code == 202
    assert placed.text in shop.recipe.readme

    worker.line("ann gets tea")
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0
    assert shop.curl(asking).status_code == 404


def test_orders_that_wait_are_shown_and_then_handled_in_order(shop: Shop) -> None:
    numbers = [shop.place("ann", f"tea {number}").json()["number"] for number in range(20)]
    assert numbers == sorted(set(numbers))
    answer = httpx.get(f"{shop.url}/customers/ann", timeout=SECONDS).json()
    assert answer == {"waiting": 20, "is_in_work": False, "error": None}

    worker = shop.worker()
    worker.line("ann gets tea 19")
    handled = [line for line in worker.said if line.startswith("ann gets")]
    assert handled == [f"ann gets tea {number}" for number in range(20)]


def test_what_is_no_order_is_refused_and_not_registered(ask: Ask, shop: Shop) -> None:
    assert shop.place("", "tea").status_code == 422
    assert httpx.get(f"{shop.url}/customers/ann", timeout=SECONDS).status_code == 404


def test_the_page_for_those_on_call_shows_what_died_and_replays_it_in_order(shop: Shop, ask: Ask) -> None:
    for article in ("tea", "milk", "<b>sugar"):
        shop.place("ann", article)
    ask(lambda redis: RedisStorage(redis).drop(Shard("orders.OrderHandler"), "ann", Cause("bob", "<i>closed")))
    shop.place("ann", "bread")
    _, page = shop.serve(shop.page)
    assert [shlex.split(call)[-1] for call in (shop.show, shop.replay)] == [
        "http://localhost:8001/",
        "http://localhost:8001/replay",
    ]

    before = httpx.get(f"{page}/", timeout=SECONDS).text
    assert "1 orders wait, 3 died" in before
    assert "Replay 3 dead letters of orders.OrderHandler?" in before
    assert "ann: 1 for" in before
    assert "&lt;i&gt;closed" in before
    foreign = httpx.post(f"{page}/replay", headers={"Sec-Fetch-Site": "cross-site"}, timeout=SECONDS)
    assert foreign.status_code == 403

    after = httpx.post(f"{page}/replay", follow_redirects=True, timeout=SECONDS)
    assert "4 orders wait, 0 died" in after.text
    worker = shop.worker()
    worker.line("ann gets bread")
    handled = [line.removeprefix("ann gets ") for line in worker.said if line.startswith("ann gets")]
    assert handled == ["tea", "milk", "<b>sugar", "bread"]


def test_a_service_without_its_redis_asks_the_client_to_try_again(ask: Ask, redis_server: RedisServer) -> None:
    options = {"QUEUE_REDIS_ADDRESS": "127.0.0.1:1", "QUEUE_REDIS_RETRY": "0"}
    with Recipe("fastapi", redis_server, **options) as recipe:
        answer = Shop(recipe).place("ann", "tea")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_service_ends_as_its_server_does(shop: Shop) -> None:
    shop.place("ann", "tea")
    shop.service.tell(signal.SIGTERM)

    assert shop.service.ended() in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in shop.service.text
