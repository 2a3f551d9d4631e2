"""
`python -m bench.replay`: many dead letters of one thread, put back at its head by command, by program and by page,
beside a live worker. Each way is cut by `kill -9` again and again, and asked for again until it is done.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path

import httpx
from redis.asyncio import Redis

from bench.ending import ended_by_signals
from bench.report import aligned
from sharded_queue import RedisStorage
from sharded_queue.backends.redis.scripts import digest
from sharded_queue.storage import Cause, Entry, Registration
from sharded_queue.tube import Shard
from tools.redis_proxy import GatedProxy
from tools.redis_server import RedisServer

HANDLER, THREAD = "ledger.Post", "many"
SHARD = Shard(HANDLER)
MODULE = """
from sharded_queue import Handler, Route


class Post(Handler):
    @classmethod
    async def route(cls, *entries: tuple[str, int]) -> list[Route]:
        return [Route(thread) for thread, _ in entries]

    async def perform(self, *entries: tuple[str, int]) -> None:
        with open("handled", "a") as file:
            file.writelines(f"{thread} {number}\\n" for thread, number in entries)
"""
PROGRAM = """
from ledger import Post
from sharded_queue import SyncAdmin
from sharded_queue.admin.letters import ReplayLetters

admin = SyncAdmin()
admin.do(ReplayLetters(handler=admin.named(Post), is_all=True, head=True))
"""
OURS = (sys.executable, "-m", "sharded_queue")
WORKER = (*OURS, "worker", "ledger")
COMMAND = (*OURS, "dead", "replay", HANDLER, "--all", "--head")
PAGE = (*OURS, "web", HANDLER, "--port", "0", "--allow-actions")
LUA = files("sharded_queue.backends.redis") / "lua"
SLOW_US = 2_000
"""Shorter commands are not in the slow log."""
MOST_MS = 50
PATIENCE = 120.0
"""Seconds until what does not come is a failure."""
LOOK_SECONDS = 0.002
AT_A_TIME = 1_000


@dataclass
class Outcome:
    """
    *left*: the letters that were left after each cut, where the thread was paused. *longest_ms*: of all commands, and
    which it was.
    """

    way: str
    letters: int
    left: list[int] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    is_in_order: bool = False
    longest_ms: float = 0.0
    longest: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.is_in_order and self.longest_ms <= MOST_MS

    def cells(self) -> tuple[str, ...]:
        order = "kept" if self.is_in_order else "LOST"
        longest = f"{self.longest_ms:.1f} ms, {self.longest}" if self.longest_ms else f"< {SLOW_US / 1000:g} ms"
        return self.way, f"{self.letters:,}", str(len(self.left)), order, longest, f"{self.seconds:.1f} s"


HEAD = ("by", "letters", "kill -9", "order", "longest step of Redis", "until the last letter was back")


class Scene:
    """
    A Redis, a folder with the handler, and the processes that were started there. They reach Redis through a proxy on
    *port*, which holds an attempt back where it is to be killed: how far it came depends on no machine.
    """

    def __init__(self, redis: Redis, folder: Path) -> None:
        self.redis, self.storage, self.folder = redis, RedisStorage(redis), folder
        self.most_left = 0
        """How many letters are left where the attempt goes no further; 0: it goes to its end."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pressed: list[asyncio.Task[None]] = []
        self._step = digest("settle_dead").encode()
        folder.mkdir()
        (folder / "ledger.py").write_text(MODULE)
        (folder / "handled").touch()

    def connect(self, port: int) -> None:
        self.environment = {**os.environ, "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}", "QUEUE_METRICS_PORT": "0"}

    async def hold_back(self, command: bytes) -> None:
        """For ever, until the process is killed that sent it."""
        if self.most_left and self._step in command and await self.count_letters() <= self.most_left:
            await asyncio.Event().wait()

    def start(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=said, stderr=said)
        self._processes.append(process)
        return process

    def said(self) -> str:
        """By the process that was started last."""
        return (self.folder / "said").read_text()

    def press(self, browser: httpx.AsyncClient, form: dict[str, str], origin: str) -> None:
        """Send a form without waiting for the answer: it comes late, and never where the console is killed."""

        async def post() -> None:
            with suppress(httpx.HTTPError):
                await browser.post("/act", data=form, headers={"Origin": origin})
            await browser.aclose()

        self._pressed.append(asyncio.create_task(post()))

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def handled(self, thread: str) -> list[int]:
        lines = (self.folder / "handled").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.split()[0] == thread]

    async def register(self, thread: str, *numbers: int) -> None:
        bodies = [b'["%s",%d]' % (thread.encode(), number) for number in numbers]
        await self.storage.register(SHARD, Registration([Entry(thread, 0, bodies)]))

    async def kill_requests(self, count: int) -> None:
        """Dead letters of the thread, in the order of their numbers."""
        for begin in range(0, count, AT_A_TIME):
            await self.register(THREAD, *range(begin, min(begin + AT_A_TIME, count)))
            await self.storage.drop(SHARD, THREAD, Cause("bench", "to be replayed"))

    async def count_letters(self) -> int:
        (state,) = await self.storage.observe([SHARD], 0)
        return state.letters

    async def count_waiting(self) -> int:
        (state,) = await self.storage.observe([SHARD], 0)
        return state.depth

    async def watch_slow_commands(self) -> None:
        await self.redis.config_set("slowlog-log-slower-than", SLOW_US)
        await self.redis.config_set("slowlog-max-len", 100_000)
        await self.redis.slowlog_reset()

    async def find_longest(self) -> tuple[float, str]:
        """How many milliseconds the longest command took, and which one it was."""
        scripts = (path.name.removesuffix(".lua") for path in LUA.iterdir() if not path.name.startswith("_"))
        names = {digest(name): name for name in scripts}
        slow = max(await self.redis.slowlog_get(100_000), key=lambda entry: entry["duration"], default=None)
        if slow is None:
            return 0.0, ""
        verb, *arguments = slow["command"].decode(errors="replace").split()
        return slow["duration"] / 1000, names.get(arguments[0] if arguments else "", verb)


async def until(is_so: Callable[[], Awaitable[object]], what: str) -> None:
    """
    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + PATIENCE
    while not await is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


async def begin_command(scene: Scene) -> subprocess.Popen[bytes]:
    return scene.start(COMMAND)


async def begin_program(scene: Scene) -> subprocess.Popen[bytes]:
    return scene.start((sys.executable, "-c", PROGRAM))


async def begin_page(scene: Scene) -> subprocess.Popen[bytes]:
    """Start the console, open its link, ask, and press the button."""
    console = scene.start(PAGE)
    found: list[str] = []

    async def has_said_its_link() -> object:
        found[:] = re.findall(r"http://\S+\?token=\S+", scene.said())
        return found

    await until(has_said_its_link, "a link of the console")
    origin = found[0].partition("/?")[0]
    browser = httpx.AsyncClient(base_url=origin, timeout=PATIENCE)
    await browser.get(found[0])
    question = await browser.get("/confirm", params={"action": "replay-head", "handler": HANDLER, "all": "yes"})
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', question.text))
    scene.press(browser, form, origin)
    return console


WAYS = {"command": begin_command, "program": begin_program, "page": begin_page}


async def replay(scene: Scene, way: str, letters: int, cut_after: int) -> Outcome:
    """
    Kill each attempt when *cut_after* letters more are back, until all are. After each cut the thread has to stand
    still, and the worker to handle another one.

    Raises:
        AssertionError: the thread moved.
        TimeoutError: something never came.
    """
    outcome = Outcome(way, letters)
    await scene.kill_requests(letters)
    worker = scene.start(WORKER)
    await expect_handled(scene, "live", 0)
    await scene.watch_slow_commands()
    began, left = time.monotonic(), letters
    while left:
        scene.most_left = max(0, left - cut_after)
        attempt = await WAYS[way](scene)
        left = await cut(scene, attempt)
        if left:
            outcome.left.append(left)
            outcome.reasons |= set((await scene.storage.acts(SHARD)).values())
            await expect_handled(scene, "live", len(outcome.left))
            assert await scene.storage.paused(SHARD) == [THREAD]
            assert not scene.handled(THREAD), "requests of the thread were handled in between"
            if len(outcome.left) == 1:
                await scene.register(THREAD, letters)
    outcome.seconds = time.monotonic() - began
    outcome.longest_ms, outcome.longest = await scene.find_longest()
    await until(partial(is_drained, scene), "all that is back is handled")
    outcome.is_in_order = scene.handled(THREAD) == list(range(letters + bool(outcome.left)))
    worker.terminate()
    await asyncio.to_thread(worker.wait)  # it speaks to Redis through the proxy
    return outcome


async def cut(scene: Scene, attempt: subprocess.Popen[bytes]) -> int:
    """Kill *attempt* where it is held back; returns how many letters are left. The last one ends itself."""

    async def is_far_enough() -> bool:
        if attempt.poll():
            raise AssertionError(scene.said())
        return await scene.count_letters() <= scene.most_left

    await until(is_far_enough, f"{scene.most_left:,} letters left")
    if scene.most_left or attempt.args == PAGE:
        attempt.kill()
    await asyncio.to_thread(attempt.wait)
    return await scene.count_letters()


async def expect_handled(scene: Scene, thread: str, number: int) -> None:
    await scene.register(thread, number)

    async def is_handled() -> bool:
        return number in scene.handled(thread)

    await until(is_handled, f"{thread} {number} is handled")


async def is_drained(scene: Scene) -> bool:
    return not await scene.count_waiting()


@asynccontextmanager
async def staged(server: RedisServer, folder: Path) -> AsyncIterator[Scene]:
    """An empty Redis, and nothing left behind."""
    async with Redis(port=server.port, socket_timeout=PATIENCE) as redis:
        await redis.flushall()
        scene = Scene(redis, folder)
        async with GatedProxy(server.port, scene.hold_back) as proxy:
            scene.connect(proxy.port)
            try:
                yield scene
            finally:
                scene.end()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--letters", type=int, default=100_000)
    parser.add_argument("--cuts", type=int, default=5, help="how often each way is killed")
    words = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as name, ended_by_signals():
        server = RedisServer(Path(name) / "redis").start()
        try:
            for way in WAYS:
                async with staged(server, Path(name) / way) as scene:
                    outcomes.append(await replay(scene, way, words.letters, words.letters // (words.cuts + 1)))
                print("  " + ", ".join(outcomes[-1].cells()), flush=True)
        finally:
            server.kill()
    print("\n" + aligned([HEAD, *(outcome.cells() for outcome in outcomes)]))
    sys.exit(not all(outcome.is_good for outcome in outcomes))


if __name__ == "__main__":
    asyncio.run(main())
