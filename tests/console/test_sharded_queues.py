"""The page of ShardedQueues before an API server of the test's: what it shows, and what a bad API server cannot do."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from sharded_queue import RuntimeStorage
from sharded_queue.cli.arguments import BadInput, Named
from sharded_queue.web.api_server import ApiServer, ApiServerSilent
from sharded_queue.web.app import Console, Options
from sharded_queue.web.command import reader_of
from sharded_queue.web.sharded_queues import ClusterReader
from tests.harness.certificates import Authority

ATTACK = "<img src=x onerror='window.attacked = 1'>\u202e"


def sharded_queue(name: str, message: str = "3 threads need 3 workers", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}", "managedFields": [{}]},
        "spec": {"handlers": [{"name": "shop.Charge"}], "scaling": {"maxReplicas": 7}, "redis": {"addresses": ["r:1"]}},
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
def server(served: Served, authority: Authority, tmp_path: Path) -> ApiServer:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(authority.file.read_bytes())
    return ApiServer("127.0.0.1", served.server_address[1], tmp_path, seconds=2, most_bytes=10_000)


@asynccontextmanager
async def opened(reader: ClusterReader | None) -> AsyncIterator[Callable[[str], Any]]:
    """Gets pages of a console that shows what *reader* has read."""
    console = Console(RuntimeStorage(), Options(chosen=[Named("shop.Charge", 1)], cluster=reader))  # type: ignore[arg-type]
    await console.reader.round()
    transport = httpx.ASGITransport(console.application())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client.get


async def test_page_shows_what_the_operator_decided(served: Served, server: ApiServer) -> None:
    calm = condition("HotThreads", "False", "no thread is hot")
    conditions = [condition("Ready", "True", "fine"), calm, condition("Pinned", "True", "somebody wants it so")]
    served.answer({"items": [sharded_queue("charges", conditions=conditions)]})
    reader = ClusterReader(server)
    await reader.round()
    async with opened(reader) as get:
        page = (await get("/shardedqueues")).text

    assert "1 ShardedQueue has 2 workers, and reports no problem" in page
    assert "3 threads need 3 workers" in page
    assert "<dd>2, 1 ready</dd>" in page
    assert "<dd>0 to 7</dd>" in page
    assert 'href="handler?handler=shop.Charge"' in page
    assert "no thread is hot" not in page


async def test_queue_that_is_not_ready_comes_first_with_its_reason(served: Served, server: ApiServer) -> None:
    lost = condition("QueueKnown", "False", f"Redis refuses {ATTACK}")
    hot = condition("HotThreads", "True", "thread 7 is hot")
    queues = [sharded_queue("a"), sharded_queue("b", conditions=[hot]), sharded_queue("z", conditions=[hot, lost])]
    served.answer({"items": queues})
    reader = ClusterReader(server)
    await reader.round()
    async with opened(reader) as get:
        page = (await get("/shardedqueues")).text

    assert "ShardedQueue shop/z is not ready: Redis refuses &lt;img" in page
    assert page.index('aria-label="ShardedQueue shop/b"') < page.index('aria-label="ShardedQueue shop/a"')
    assert "; 1 further one needs a look" in page
    assert "<img src=x" not in page
    assert "\u202e" not in page


async def test_workers_and_lanes_of_the_last_minutes_are_lines(served: Served, server: ApiServer) -> None:
    reader = ClusterReader(server)
    for replicas, bound in ((1, 0), (1, 16), (1, 16), (4, 16), (2, 9)):
        served.answer({"items": [sharded_queue("charges", replicas=replicas, threads={"bound": bound})]})
        await reader.round()
    (queue,) = reader.cluster.queues
    async with opened(reader) as get:
        page = (await get("/shardedqueues")).text

    assert [workers for _, workers in reader.cluster.line(queue, "workers")] == [1, 1, 4, 2]
    assert [lanes for _, lanes in reader.cluster.line(queue, "lanes")] == [0, 16, 16, 9]
    assert "<dd>9 threads held</dd>" in page
    for what in ("Workers", "Lanes"):
        assert f'aria-label="{what} of shop/charges over five minutes"><polygon' in page
    served.answer({"items": []})
    await reader.round()
    assert not reader.cluster.lines


async def test_api_server_that_goes_away_is_said_and_harms_nothing_else(served: Served, server: ApiServer) -> None:
    served.answer({"items": [sharded_queue("charges")]})
    reader = ClusterReader(server)
    await reader.round()
    served.goes_on.clear()
    await reader.round()
    async with opened(reader) as get:
        page, other = (await get("/shardedqueues")).text, (await get("/")).text

    assert "No news of ShardedQueues" in page
    assert "the API server does not answer" in page
    assert "3 threads need 3 workers" in page
    assert "ShardedQueues</strong>" not in other
    served.goes_on.set()
    await reader.round()
    assert reader.cluster.silent_since is None


async def test_many_pages_are_one_list(served: Served, server: ApiServer) -> None:
    reader = ClusterReader(server)
    await reader.round()
    async with opened(reader) as get:
        for _ in range(20):
            await get("/shardedqueues")

    assert served.asked == [("/apis/shardedqueue.dev/v1alpha1/shardedqueues?limit=250", "Bearer first")]


async def test_single_namespaces_are_asked_for_one_by_one(served: Served, server: ApiServer) -> None:
    await ClusterReader(server, ["shop", "billing"]).round()

    paths = [path.partition("?")[0].removeprefix("/apis/shardedqueue.dev/v1alpha1") for path, _ in served.asked]
    assert paths == ["/namespaces/shop/shardedqueues", "/namespaces/billing/shardedqueues"]


async def test_console_without_a_cluster_has_no_such_page() -> None:
    async with opened(None) as get:
        assert (await get("/shardedqueues")).status_code == 404
        assert "ShardedQueues" not in (await get("/")).text


def test_token_is_read_anew_for_each_list(served: Served, server: ApiServer) -> None:
    server.get("/")
    (server.mount / "token").write_text("second\n")
    server.get("/")

    assert [token for _, token in served.asked] == ["Bearer first", "Bearer second"]


def test_token_is_not_shown_to_a_server_of_another_authority(
    served: Served, server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    another = Authority(tmp_path_factory.mktemp("another"))
    (server.mount / "ca.crt").write_bytes(another.file.read_bytes())

    with pytest.raises(ApiServerSilent, match="certificate verify failed"):
        server.get("/")
    assert not served.asked


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "may not list ShardedQueues"), (404, "definition is not installed"), (500, "answers 500")],
)
def test_refusal_of_the_api_server_is_said(served: Served, server: ApiServer, status: int, said: str) -> None:
    served.status = status

    with pytest.raises(ApiServerSilent, match=said):
        server.get("/")


def test_answer_that_is_too_large_is_not_kept(served: Served, server: ApiServer) -> None:
    served.pieces = [b"x" * 10_001]

    with pytest.raises(ApiServerSilent, match="more than 10,000 bytes"):
        server.get("/")


def test_answer_that_drips_is_given_up(served: Served, server: ApiServer) -> None:
    """Its pieces come often enough for each single read of a socket."""
    served.pieces, served.patience = [b" "] * 200, 0.1
    served.goes_on.clear()
    began = time.monotonic()

    with pytest.raises(ApiServerSilent):
        server.get("/")
    assert time.monotonic() - began < 5 * server.seconds


async def test_answer_that_is_no_list_is_said(served: Served, server: ApiServer) -> None:
    served.answer({"items": [{"metadata": "?"}]})
    reader = ClusterReader(server)
    await reader.round()

    assert "no list of ShardedQueues" in reader.cluster.trouble


def test_command_outside_a_pod_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(BadInput, match="needs a pod with the token of its account"):
        reader_of(())


def test_pod_has_an_api_server_where_its_account_has_a_token(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "198.19.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert ApiServer.of_this_pod(environment, tmp_path) is None

    (tmp_path / "token").write_text("token")

    assert ApiServer.of_this_pod(environment, tmp_path) == ApiServer("198.19.0.1", 443, tmp_path)
