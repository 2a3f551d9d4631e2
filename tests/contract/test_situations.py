"""
What an on-call person reads is true: each situation of docs/situations.md, made by real workers on a real Redis.

`SITUATIONS=write` puts what is said now into the page, to be read before it is committed.
"""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from sharded_queue.admin import words
from sharded_queue.cli.program import main
from sharded_queue.settings import settings
from sharded_queue.state import ShardState, ThreadState
from sharded_queue.tube import Shard
from sharded_queue.web.pages import why_of
from sharded_queue.web.reader import Reader
from sharded_queue.web.templating import environment
from tests.contract.job import Final, Job, Keyed, Patient, Strict
from tests.harness.cli_process import CliProcess
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "situations.md"
COLOURS = {"good": "green", "wait": "amber", "bad": "red", "idle": "grey"}
ENVIRONMENT = {
    "QUEUE_COORDINATOR_DELAY": "0.2",
    "QUEUE_COORDINATOR_LEASE": "3",
    "QUEUE_METRICS_PORT": "0",
    "QUEUE_WORKER_CONCURRENCY": "2",
    "QUEUE_WORKER_NAME": "worker-a",
}
SECONDS = 30.0
BY_ANNA = ("--by", "anna", "--reason", "the bank is down")
NUMBERS = [
    (r"(?:\d+ d )?(?:\d+ h )?(?:\d+ min )?\d+(?:\.\d+)? s\b|\d+ d \d+ h|\d+ h \d+ min", "12.3 s"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-12-04T09:09:06Z"),
    (r"\d\d:\d\d:\d\d", "09:09:06"),
    (r"until 2026-12-04T09", "until 2026-12-04T10"),
    (r"worker-a/[0-9a-f]{8}", "worker-a/…"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:6379"),
]
"""What differs from one run to the next."""


class Said(NamedTuple):
    """A row of the page."""

    state: str
    colour: str
    code: str
    command: str
    headline: str


class Scene:
    """A Redis, the workers over it, and what a person would read of them."""

    def __init__(self, ask: Ask, server: RedisServer, folder: Path) -> None:
        self.ask, self.server, self.folder = ask, server, folder
        self.workers: list[CliProcess] = []

    def register(self, handler: type[Job], *requests: str, **options: Any) -> None:
        self.ask(lambda redis: Queue(RedisStorage(redis)).register(handler, *requests, **options))

    def work(self, **environment: str) -> CliProcess:
        given = {**ENVIRONMENT, "PYTHONPATH": str(ROOT), "QUEUE_REDIS_ADDRESS": self.server.address, **environment}
        self.workers.append(CliProcess("worker", "tests.contract.job", place=self.folder, environment=given))
        return self.workers[-1]

    def thread(self, thread: str, is_so: Callable[[ThreadState], Any], handler: type[Job] = Job) -> ThreadState:
        """Wait until it is so."""
        return self._until(lambda storage: storage.explain(Shard(handler.name), thread), is_so)

    def shard(self, is_so: Callable[[ShardState], Any], handler: type[Job] = Job) -> ShardState:
        async def observe(storage: RedisStorage) -> ShardState:
            return (await storage.observe([Shard(handler.name)]))[0]

        return self._until(observe, is_so)

    def _until(self, question: Callable[[RedisStorage], Any], is_so: Callable[[Any], Any]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not is_so(found := self.ask(lambda redis: question(RedisStorage(redis)))):
            assert time.monotonic() < deadline, f"it never was so: {found}"
            time.sleep(0.02)
        return found

    def act(self, *arguments: str) -> None:
        assert CliRunner().invoke(main, arguments).exit_code == 0

    def typed(self, *arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, arguments)
        return done.exit_code, done.output.partition("\n")[0]

    def explain(self, thread: str, handler: type[Job] = Job) -> Said:
        code, text = self.typed("explain", handler.name, thread)
        state = self.ask(lambda redis: RedisStorage(redis).explain(Shard(handler.name), thread))
        judged = words.judge_thread(state)
        return Said(judged.state, COLOURS[judged.tone], str(code), text, self.headline())

    def lag(self, handler: type[Job] = Job) -> Said:
        """What is said of a handler as a whole."""
        done = CliRunner().invoke(main, ["lag", handler.name])
        row = done.output.strip().splitlines()[-1].removeprefix(handler.name).strip()
        return Said(*self._handler(handler), str(done.exit_code), row, self.headline())

    def _handler(self, handler: type[Job]) -> tuple[str, str]:
        judged = words.judge_handler(self._read()[0].world.handlers[handler.name])[0]
        return judged.state, COLOURS[judged.tone]

    def _read(self) -> tuple[Reader, ThreadState | None]:
        async def once(redis: Redis) -> tuple[Reader, ThreadState | None]:
            reader = Reader(RedisStorage(redis), [])
            await reader.round()
            question = why_of(reader.world)
            thread = await reader.storage.explain(Shard(question.handler), question.thread) if question else None
            return reader, thread

        found: tuple[Reader, ThreadState | None] = self.ask(once)
        return found

    def headline(self) -> str:
        reader, why = self._read()
        if reader.world.silent_since:
            return banner(reader)
        return words.headline(reader.world.by_lag, reader.world.unreadable, why)[0].text

    def age(self, seconds: int, *sets: str, handler: type[Job] = Job) -> None:
        """Let what is in these sorted sets have waited for *seconds*."""

        async def older(redis: Redis) -> None:
            for name in sets:
                key = f"tube_{{{handler.name}}}:{name}"
                for member in await redis.zrange(key, 0, -1):
                    await redis.zincrby(key, -1000 * seconds, member)

        self.ask(older)


def banner(reader: Reader) -> str:
    shown = environment.get_template("parts.html").module.banner(reader.world)  # type: ignore[attr-defined]
    return re.sub("<[^>]+>", "", shown).strip()


SITUATIONS: dict[str, Callable[[Scene], Said]] = {}


def situation(name: str) -> Callable[[Callable[[Scene], Said]], Callable[[Scene], Said]]:
    def listed(make: Callable[[Scene], Said]) -> Callable[[Scene], Said]:
        SITUATIONS[name] = make
        return make

    return listed


@situation("Every request is handled")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    scene.work()
    scene.shard(lambda state: state.settled == 1 and not state.bound)
    return scene.lag()


@situation("A worker is at work on a request")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 hangs")
    scene.work()
    scene.thread("7", lambda state: state.in_hand)
    return scene.explain("7")


@situation("A deep thread moves")
def _(scene: Scene) -> Said:
    scene.register(Job, *["7 works"] * 1000)
    scene.work(QUEUE_WORKER_BATCH_SIZE="1")
    scene.shard(lambda state: state.settled)
    return scene.explain("7")


@situation("A request hung beyond its time limit (`QUEUE_COORDINATOR_TIMEOUT`), and is tried again")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 hangs")
    scene.work(QUEUE_COORDINATOR_TIMEOUT="0.5")
    scene.thread("7", lambda state: state.is_held and state.tubes[0].crashes)
    return scene.explain("7")


@situation("No worker has ever run")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    return scene.explain("7")


@situation("The last worker was stopped, seconds ago")
def _(scene: Scene) -> Said:
    _stop_after_one(scene)
    scene.register(Job, "7 passes")
    return scene.explain("7")


@situation("The last worker was stopped, a minute ago")
def _(scene: Scene) -> Said:
    _stop_after_one(scene)
    scene.register(Job, "7 passes")
    scene.age(90, "oldest", "ready")
    scene.ask(lambda redis: redis.hincrby(f"tube_{{{Job.name}}}:counters", "polled", -90_000))
    return scene.explain("7")


def _stop_after_one(scene: Scene) -> None:
    scene.register(Job, "6 passes")
    worker = scene.work()
    scene.shard(lambda state: state.settled)
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0


@situation("The only worker was killed (`kill -9`), and its lease still lasts")
def _(scene: Scene) -> Said:
    _kill(scene)
    return scene.explain("7")


@situation("The only worker was killed, and its lease is over")
def _(scene: Scene) -> Said:
    _kill(scene)
    scene.thread("7", lambda state: not state.is_held)
    return scene.explain("7")


@situation("The only worker was killed while it had nothing to do")
def _(scene: Scene) -> Said:
    scene.register(Job, "6 passes")
    worker = scene.work()
    scene.shard(lambda state: state.settled and not state.bound)
    worker.kill()
    scene.register(Job, "7 passes")
    return scene.explain("7")


def _kill(scene: Scene) -> None:
    scene.register(Job, "7 hangs")
    worker = scene.work()
    scene.thread("7", lambda state: state.in_hand)
    worker.kill()


@situation("The only worker stands still (`SIGSTOP`)")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 hangs")
    worker = scene.work()
    scene.thread("7", lambda state: state.in_hand)
    worker.tell(signal.SIGSTOP)
    scene.thread("7", lambda state: not state.is_held)
    return scene.explain("7")


@situation("All lanes of the workers are taken")
def _(scene: Scene) -> Said:
    scene.register(Job, "1 hangs", "2 hangs")
    scene.work()
    scene.shard(lambda state: state.bound == 2)
    scene.register(Job, "7 passes")
    return scene.explain("7")


@situation("All lanes of the workers are taken by another handler")
def _(scene: Scene) -> Said:
    scene.register(Patient, "6 passes")
    scene.work()
    scene.shard(lambda state: state.settled and not state.bound, Patient)
    scene.register(Job, "1 hangs", "2 hangs")
    scene.shard(lambda state: state.bound == 2)
    scene.register(Patient, "7 passes")
    scene.age(20, "oldest", "ready", handler=Patient)
    scene.ask(lambda redis: redis.hincrby(f"tube_{{{Patient.name}}}:counters", "polled", -30_000))
    return scene.explain("7", Patient)


@situation("A request is at its last try, and hangs")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 hangs-at-last")
    scene.work()
    scene.thread("7", lambda state: state.is_held and state.tubes and state.tubes[0].attempts == 4)
    return scene.explain("7")


@situation("A batch failed, and its first request is tried alone")
def _(scene: Scene) -> Said:
    scene.register(Job, *["7 hangs-alone"] * 9)
    scene.work()
    scene.thread("7", lambda state: state.tubes and state.tubes[0].error)
    return scene.explain("7")


@situation("A request failed and backs off")
def _(scene: Scene) -> Said:
    scene.register(Patient, "7 fails")
    scene.work()
    scene.thread("7", lambda state: state.blocked_seconds, Patient)
    return scene.explain("7", Patient)


@situation("A request snoozes")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 snoozes")
    scene.work()
    scene.thread("7", lambda state: state.blocked_seconds)
    return scene.explain("7")


@situation('A request has no try left, and its handler says `exhausted="pause"`')
def _(scene: Scene) -> Said:
    scene.register(Strict, "7 fails", "7 works")
    scene.work()
    scene.thread("7", lambda state: state.exhausted, Strict)
    return scene.explain("7", Strict)


@situation("An exhausted thread is paused as well")
def _(scene: Scene) -> Said:
    scene.register(Strict, "7 fails", "7 works")
    scene.work()
    scene.thread("7", lambda state: state.exhausted, Strict)
    scene.act("pause", Strict.name, "7", *BY_ANNA)
    return scene.explain("7", Strict)


@situation("An exhausted thread was resumed, and no worker has taken it yet")
def _(scene: Scene) -> Said:
    scene.register(Strict, "7 fails", "7 works")
    worker = scene.work()
    scene.thread("7", lambda state: state.exhausted, Strict)
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0
    scene.act("resume", Strict.name, "--exhausted")
    return scene.explain("7", Strict)


@situation("A request killed a worker, and another one tries it")
def _(scene: Scene) -> Said:
    _kill(scene)
    scene.work()
    scene.thread("7", lambda state: state.is_held and state.tubes[0].crashes)
    return scene.explain("7")


@situation("A thread is paused, and others are at work")
def _(scene: Scene) -> Said:
    scene.register(Job, "1 hangs")
    scene.work()
    scene.shard(lambda state: state.bound)
    scene.act("pause", Job.name, "7", "--force", *BY_ANNA)
    scene.register(Job, "7 passes")
    scene.age(90, "oldest")
    return scene.explain("7")


@situation("A thread is paused for an hour")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    scene.act("pause", Job.name, "7", "--for", "1h", *BY_ANNA)
    scene.work()
    scene.shard(lambda state: state.told_seconds is not None)
    return scene.explain("7")


@situation("A thread is paused while a worker has a request of it")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 hangs")
    scene.work()
    scene.thread("7", lambda state: state.in_hand)
    scene.act("pause", Job.name, "7")
    return scene.explain("7")


@situation("A handler is paused")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    scene.act("pause", Job.name, *BY_ANNA)
    scene.work()
    scene.shard(lambda state: state.told_seconds is not None)
    return scene.explain("7")


@situation("Nothing but delayed requests waits")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes", delay_seconds=3600)
    return scene.lag()


@situation("A schedule is overdue, and no worker runs")
def _(scene: Scene) -> Said:
    scene.ask(lambda redis: Queue(RedisStorage(redis)).schedule(Job, "7 passes", name="nightly", every_seconds=3600))
    scene.age(3600 + 90, "occurrences")
    return scene.lag()


@situation("Nothing but dead letters is left")
def _(scene: Scene) -> Said:
    scene.register(Final, "7 fails")
    scene.work()
    scene.shard(lambda state: state.letters and not state.bound, Final)
    return scene.lag(Final)


@situation("A worker keeps a thread without requests for a moment")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    scene.work(QUEUE_WORKER_LINGER="3000")
    scene.thread("7", lambda state: state.is_held and not state.tubes)
    return scene.explain("7")


@situation("The keys of a handler are being spread anew")
def _(scene: Scene) -> Said:
    scene.register(Keyed, *[f"{number} passes" for number in range(20)])
    scene.act("reshard", Keyed.name, "3")
    scene.register(Keyed, *[f"{number} passes" for number in range(20)])
    state = scene.shard(lambda state: state.parked, Keyed)
    thread = next(tube.thread for tube in state.oldest if tube.state == "parked")
    return scene.explain(thread, Keyed)


@situation("The record of a thread cannot be read")
def _(scene: Scene) -> Said:
    scene.register(Job, "6 passes", "7 passes")
    scene.ask(lambda redis: redis.hset(f"tube_{{{Job.name}}}:threads", "7", "?"))
    scene.work()
    scene.shard(lambda state: state.quarantined and state.settled)
    return scene.explain("7")


@situation("The data are of a later release")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    scene.ask(lambda redis: redis.hset(f"tube_{{{Job.name}}}:counters", "format", "999"))
    code, text = scene.typed("explain", Job.name, "7")
    return Said("unreadable", "red", str(code), text, scene.headline())


@situation("A name is misspelt")
def _(scene: Scene) -> Said:
    scene.register(Job, "7 passes")
    code, text = scene.typed("explain", "shop.Jab", "7")
    return Said("–", "–", str(code), text, scene.headline())


@situation("Redis does not answer")
def _(scene: Scene) -> Said:
    settings.redis_address, settings.redis_timeout, settings.redis_retry = ("127.0.0.1:1",), 0.5, 0.0
    code, text = scene.typed("explain", Job.name, "7")
    reader = Reader(RedisStorage(Redis(port=1)), [])
    asyncio.run(reader.round())
    return Said("–", "red", str(code), text, banner(reader))


@pytest.fixture
def scene(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(ask, redis_server, tmp_path)
    yield scene
    for worker in scene.workers:
        worker.kill()


def normal(text: str) -> str:
    for pattern, shown in NUMBERS:
        text = re.sub(pattern, shown, text)
    return text.replace("|", "\\|")


def row(name: str, said: Said) -> str:
    state = f"`{said.state}`" if said.state != "–" else "–"
    cells = [name, state, said.colour, said.code, normal(said.command), normal(said.headline)]
    return f"| {' | '.join(cells)} |"


def rows() -> dict[str, str]:
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_said_of_a_situation_is_on_the_page(scene: Scene, name: str) -> None:
    said = row(name, SITUATIONS[name](scene))
    if os.environ.get("SITUATIONS") == "write":
        known = rows() | {name: said}
        head = PAGE.read_text().partition("|---")[0]
        lines = ["|---|---|---|---|---|---|", *[known[each] for each in SITUATIONS if each in known]]
        PAGE.write_text(head + "\n".join(lines) + "\n")

    assert rows().get(name) == said


def test_the_page_has_these_situations_in_this_order() -> None:
    known = [name for name in rows() if name not in ("situation",)]

    assert known == list(SITUATIONS)


def test_every_state_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()

    assert all(f"| {state} |" in glossary for state in [*words.TONES, "idle", "unconsumed"])
