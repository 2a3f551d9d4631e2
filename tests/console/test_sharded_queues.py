"""The operator's page before an API server of the test's: what it shows, and what a bad API server cannot do."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from sharded_queue import RuntimeStorage
from sharded_queue.admin.handlers import Named
from sharded_queue.web.added_page import Row
from sharded_queue.web.app import Console, Options
from sharded_queue.web.host import Host
from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.console import page as pages
from sharded_queue_operator.console.page import QueuesPage, open_page
from sharded_queue_operator.errors import ApiRefused, BadSpec
from tests.harness.certificates import Authority

ATTACK = "<img src=x onerror='window.attacked = 1'>\u202e"
SECONDS, MOST_BYTES = 2, 100_000


def sharded_queue(name: str, message: str = "3 threads need 3 workers", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}", "managedFields": [{}]},
        "spec": {
            "handlers": [{"name": "shop.Charge"}],
            "scaling": {"maxReplicas": 7},
            "redis": {"addresses": ["r:1"]},
            "worker": {"image": "shop", "modules": ["shop"]},
        },
        "status": {"desiredReplicas": 3, "replicas": 2, "readyReplicas": 1, "message": message, **status},
    }


def condition(kind: str, status: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "Because", "message": message}


class Served(ThreadingHTTPServer):
    """An API server with a certificate of *authority*, which answers what the test says."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(*authority.sign("server", "IP:127.0.0.1"))
        self.socket = trust.wrap_socket(self.socket, server_side=True)
        self.asked: list[tuple[str, str]] = []
        """Path and token of each request."""
        self.status = 200
        self.connected = 0
        self.pieces: list[bytes] = []
        self.goes_on = Event()
        self.goes_on.set()
        self.patience: float | None = None
        """After each piece the answer waits until it goes on, or for this time."""
        self.answer({"items": []})

    def answer(self, value: Any) -> None:
        self.pieces = [json.dumps(value).encode()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses or leaves is what some tests are about."""


class Answering(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(sum(map(len, self.server.pieces))))
        self.end_headers()
        for piece in self.server.pieces:
            self.server.goes_on.wait(self.server.patience)
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def served(authority: Authority) -> Iterator[Served]:
    served = Served(authority)
    thread = Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.goes_on.set()
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def page(served: Served, authority: Authority) -> QueuesPage:
    return page_of(served, authority)


def page_of(served: Served, trusted: Authority, *namespaces: str) -> QueuesPage:
    async def connect() -> Api:
        served.connected += 1
        settings = Configuration(host=f"https://127.0.0.1:{served.server_address[1]}")
        settings.ssl_ca_cert = str(trusted.file)
        settings.api_key = {"BearerToken": f"Bearer token-{served.connected}"}
        return Api(ApiClient(settings), SECONDS, MOST_BYTES)

    return QueuesPage(namespaces, connect)


@asynccontextmanager
async def opened(page: QueuesPage) -> AsyncIterator[tuple[Host, Callable[[str], Any]]]:
    """The host of *page*, and what gets pages of its console."""
    host = Host(EntryPoint("shardedqueues", "unused:unused", "sharded_queue.pages"))
    host._page, host.title = page, page.title
    await asyncio.to_thread(host.round)
    console = Console(RuntimeStorage(), Options(chosen=[Named("shop.Charge", 1)], added=[host]))  # type: ignore[arg-type]
    await console.reader.round()
    transport = httpx.ASGITransport(console.application())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield host, client.get


async def test_page_shows_what_the_operator_decided(served: Served, page: QueuesPage) -> None:
    calm = condition("HotThreads", "False", "no thread is hot")
    conditions = [condition("Ready", "True", "fine"), calm, condition("Pinned", "False", "nobody wants it so")]
    served.answer({"items": [sharded_queue("charges", conditions=conditions)]})
    async with opened(page) as (_, get):
        shown = (await get("/shardedqueues")).text

    assert "1 ShardedQueue has 2 workers, and reports no problem" in shown
    assert "3 threads need 3 workers" in shown
    assert "<dd>2, 1 ready</dd>" in shown
    assert "<dd>0 to 7</dd>" in shown
    assert 'href="handler?handler=shop.Charge"' in shown
    assert "no thread is hot" not in shown


async def test_queue_that_is_not_ready_comes_first_with_its_reason(served: Served, page: QueuesPage) -> None:
    lost = condition("QueueKnown", "False", f"Redis refuses {ATTACK}")
    hot = condition("HotThreads", "True", "thread 7 is hot")
    queues = [sharded_queue("a"), sharded_queue("b", conditions=[hot]), sharded_queue("z", conditions=[hot, lost])]
    served.answer({"items": queues})
    async with opened(page) as (_, get):
        shown = (await get("/shardedqueues")).text

    assert "ShardedQueue shop/z is not ready: Redis refuses &lt;img" in shown
    assert shown.index('aria-label="shop/z"') < shown.index('aria-label="shop/b"') < shown.index('aria-label="shop/a"')
    assert "; 1 further one needs a look" in shown
    assert "<img src=x" not in shown
    assert "\u202e" not in shown


def line_of(row: Row, name: str) -> list[float]:
    (fact,) = [fact for fact in row.facts if fact.name == name]
    assert fact.line is not None
    return [number for _, number in fact.line]


def test_workers_and_lanes_of_the_last_minutes_are_lines(served: Served, page: QueuesPage) -> None:
    for replicas, bound in ((1, 0), (1, 16), (1, 16), (4, 16), (2, 9)):
        served.answer({"items": [sharded_queue("charges", replicas=replicas, threads={"bound": bound})]})
        (row,) = page.read().rows

    assert line_of(row, "Workers, five minutes") == [1, 1, 4, 2]
    assert line_of(row, "Lanes, five minutes") == [0, 16, 16, 9]
    assert ("Lanes", "9 threads held") in [(fact.name, fact.value) for fact in row.facts]
    served.answer({"items": []})
    page.read()
    assert not page._lines


async def test_api_server_that_goes_away_is_said_and_harms_nothing_else(served: Served, page: QueuesPage) -> None:
    served.answer({"items": [sharded_queue("charges")]})
    async with opened(page) as (host, get):
        served.goes_on.clear()
        await asyncio.to_thread(host.round)
        shown, other = (await get("/shardedqueues")).text, (await get("/")).text
        served.goes_on.set()
        await asyncio.to_thread(host.round)
        again = (await get("/shardedqueues")).text

    assert "No news of ShardedQueues" in shown
    assert "the API server does not answer" in shown
    assert "3 threads need 3 workers" in shown
    assert "No news of ShardedQueues" not in other + again


async def test_many_pages_are_one_list(served: Served, page: QueuesPage) -> None:
    async with opened(page) as (_, get):
        for _ in range(20):
            await get("/shardedqueues")

    assert served.asked == [("/apis/shardedqueue.dev/v1alpha1/shardedqueues?limit=50", "Bearer token-1")]


def test_single_namespaces_are_asked_for_one_by_one(served: Served, authority: Authority) -> None:
    page_of(served, authority, "shop", "billing").read()

    paths = [path.partition("?")[0].removeprefix("/apis/shardedqueue.dev/v1alpha1") for path, _ in served.asked]
    assert paths == ["/namespaces/shop/shardedqueues", "/namespaces/billing/shardedqueues"]


def test_long_list_is_read_in_parts_and_not_to_its_end(served: Served, page: QueuesPage) -> None:
    queues = [sharded_queue(f"n{number}") for number in range(pages.LISTED_AT_ONCE)]
    served.answer({"items": queues, "metadata": {"continue": "next", "remainingItemCount": 1000}})
    content = page.read()

    assert len(served.asked) == pages.MOST_LISTED / pages.LISTED_AT_ONCE
    assert len(content.rows) == pages.MOST_LISTED
    assert content.note == "1,000 further ShardedQueues are not listed."


def test_token_is_read_anew_for_each_list(served: Served, page: QueuesPage) -> None:
    page.read()
    page.read()

    assert [token for _, token in served.asked] == ["Bearer token-1", "Bearer token-2"]


def test_token_is_not_shown_to_a_server_of_another_authority(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    another = Authority(tmp_path_factory.mktemp("another"))

    with pytest.raises(ApiRefused, match=r"certificate verify failed|CertificateError"):
        page_of(served, another).read()
    assert not served.asked


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "may not list ShardedQueues"), (404, "definition is not installed"), (500, "does not answer: .* 500")],
)
def test_refusal_of_the_api_server_is_said(served: Served, page: QueuesPage, status: int, said: str) -> None:
    served.status = status

    with pytest.raises(ApiRefused, match=said):
        page.read()


def test_answer_that_is_too_large_is_not_kept(served: Served, page: QueuesPage) -> None:
    """And what comes after the bound is not even sent: the connection ends."""
    served.pieces = [b"x" * MOST_BYTES] * 1000

    with pytest.raises(ApiRefused, match="more than 100,000 bytes"):
        page.read()


def test_answer_that_drips_is_given_up(served: Served, page: QueuesPage) -> None:
    """Its pieces come often enough for each single read of a socket."""
    served.pieces, served.patience = [b" "] * 200, 0.1
    served.goes_on.clear()

    with pytest.raises(ApiRefused, match="TimeoutError"):
        page.read()


@pytest.mark.parametrize("answer", [{"items": [{"metadata": "?"}]}, {"items": [7]}])
def test_answer_that_is_no_list_is_said(served: Served, page: QueuesPage, answer: Any) -> None:
    served.answer(answer)

    with pytest.raises(ApiRefused, match="is not a list of ShardedQueues"):
        page.read()


def test_page_outside_a_cluster_says_what_it_lacks() -> None:
    async def connect() -> Api:
        raise ConfigException("Service host/port is not set.")

    with pytest.raises(ApiRefused, match="neither an account of a pod nor a kubeconfig"):
        QueuesPage((), connect).read()


@pytest.mark.parametrize("text", ["../secrets", "shop,Billing", "a/b", "x" * 64])
def test_page_asks_for_namespaces_only(text: str) -> None:
    with pytest.raises(BadSpec, match="is not a namespace name"):
        open_page(text)
