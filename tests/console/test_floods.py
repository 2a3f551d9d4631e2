"""A console that is flooded in each way that a stranger or a reader has: it answers probes, and stays small."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from sharded_queue.storage import Cause
from sharded_queue.tube import Shard
from tests.console.shop import Mail
from tests.harness.cli_process import CliProcess
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis

DESCRIPTORS, PEAK_MIB, LOG_BYTES = 256, 128, 1_000_000
LETTERS = 1_000
SECONDS = 10
ASKED = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNFINISHED = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
LETTERS_LIVE = f"/live?page=dead&query={quote(f'handler={Mail.name}&text=q')}"


class Flooded:
    """The process of a console, and the connections of those who flood it."""

    def __init__(self, process: CliProcess, clients: ExitStack) -> None:
        self.process, self.clients = process, clients
        found = re.search(r"http://127.0.0.1:(\d+)/", process.line("the console is at"))
        assert found
        self.port, self.folder = int(found[1]), Path("/proc") / str(process.process.pid)
        self.descriptors = 0

    def connect(self, *sent: bytes) -> None:
        """A client for each, which sends this and reads nothing."""
        for data in sent:
            client = self.clients.enter_context(socket.create_connection(("127.0.0.1", self.port), SECONDS))
            try:
                client.sendall(data)
            except ConnectionError:
                continue  # others took its place already
            self._look()

    def get(self, path: str, **headers: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        self._look()
        return status

    def _look(self) -> None:
        self.descriptors = max(self.descriptors, len(list((self.folder / "fd").iterdir())))

    def assert_is_well(self) -> None:
        assert [self.get("/livez") for _ in range(5)] == [200] * 5
        assert self.get("/") == 200
        peak = re.search(r"VmHWM:\s+(\d+) kB", (self.folder / "status").read_text())
        assert peak
        assert (self.descriptors <= DESCRIPTORS, int(peak[1]) >> 10 <= PEAK_MIB) == (True, True)
        assert len(self.process.text) <= LOG_BYTES


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliProcess]:
    require_redis()
    folder = tmp_path_factory.mktemp("run")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    asyncio.run(fill(server.port))
    process = CliProcess("web", "--port", "0", place=folder, environment={"QUEUE_REDIS_ADDRESS": server.address})
    yield process
    process.kill()
    server.kill()


async def fill(port: int) -> None:
    """As many dead letters as a search looks through, of 1 kB."""
    async with Redis(port=port) as redis:
        storage = RedisStorage(redis)
        await Queue(storage).register(Mail, *[{"to": "a", "text": "q" * 1_000}] * LETTERS)
        await storage.drop(Shard(Mail.name), "a", Cause("ann", "for a test"))


@pytest.fixture
def flooded(process: CliProcess) -> Iterator[Flooded]:
    with ExitStack() as clients:
        yield Flooded(process, clients)


@pytest.mark.parametrize(
    "sent",
    [
        [UNFINISHED] * 300,
        [UNFINISHED + b"x" * 15_500] * 300,
        [b"\0" * 100] * 600,
        [ASKED.format(f"{LETTERS_LIVE}{number}").encode() for number in range(200)],
        [ASKED.format(f"/dead?handler={Mail.name}&text=q{number}").encode() for number in range(100)],
        [ASKED.format(f"/live?page=overview&query=from%3D{number}").encode() for number in range(300)],
    ],
    ids=["slow heads", "large heads", "no HTTP", "live searches", "searches", "live pages"],
)
def test_console_answers_probes_and_stays_small_in_a_flood_of(flooded: Flooded, sent: list[bytes]) -> None:
    flooded.connect(*sent)

    flooded.assert_is_well()


def test_console_answers_probes_while_another_site_asks_what_an_action_would_do(flooded: Flooded) -> None:
    """Of a console that acts, each such question would look through all dead letters."""
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    question = f"/confirm?action=replay-tail&handler={Mail.name}&all=yes"

    assert {flooded.get(question, **foreign) for _ in range(50)} == {403}
    flooded.assert_is_well()
