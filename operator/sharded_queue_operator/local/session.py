"""
One run of a ShardedQueue on this machine, from its first reading to its summary.

It is observed by the operator's own poller and decided by its own function; only what carries a decision out is
another.
"""

import asyncio
import base64
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import click

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.output import console
from sharded_queue.errors import StorageUnavailable
from sharded_queue.printable import counted
from sharded_queue.settings import settings
from sharded_queue.state import ShardState
from sharded_queue_operator.local import order_check
from sharded_queue_operator.local.live_view import Frame, View, view
from sharded_queue_operator.local.processes import Crew, Failed, ended, environment, started, tail, words
from sharded_queue_operator.local.report import Outcome, printed
from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.polling.poller import Poller
from sharded_queue_operator.polling.reader import Reading, Subscription
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.scaling.decide import decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Observation

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEVER = float("inf")


class Wishes(NamedTuple):
    """The options of one run."""

    address: str | None
    producer: str | None
    is_endless: bool
    logs: Path | None


async def secret(_: Name) -> dict[str, Any]:
    """What a cluster would keep in a Secret."""
    password = settings.redis_password.get_secret_value() if settings.redis_password else ""
    texts = {"username": settings.redis_username, "password": password}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items() if text}
    return {"metadata": {"resourceVersion": "1"}, "data": data}


class Run:
    """
    One run from its first reading to its summary.

    Readings, signals and failures all come in as news, so that no step is ever broken off halfway.
    """

    def __init__(self, resource: Resource, storage: RedisStorage, place: Path, logs: Path, wishes: Wishes) -> None:
        assert resource.spec.worker
        self.resource, self.storage, self.wishes, self.logs, self.place = resource, storage, wishes, logs, place
        self.journal = f"sharded-queue-run:{uuid4().hex[:8]}"
        self.environment = environment(resource, place, self.journal)
        command = [sys.executable, "-m", "sharded_queue", "worker", *resource.spec.worker.modules]
        self.crew = Crew(command, self.environment, place, logs)
        self.crew.fail = self.fail
        self.news: asyncio.Queue[Reading | None] = asyncio.Queue()
        self.history = History()
        self.started_at = monotonic()
        self.busy_at: float | None = None
        self.drained_at: float | None = None
        self.produced_at = NEVER if wishes.producer else self.started_at
        self.signals: list[signal.Signals] = []
        self.failure: Exception | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.before: Sequence[ShardState] = ()

    async def conduct(self) -> int:
        self.before = await self.counted()
        self.introduce()
        self.listen_to_signals()
        self.watch(self.poll)
        screen = view(console())
        self.crew.say = screen.say
        try:
            await self.pursue(screen)
        finally:
            screen.close()
            for task in self.tasks:
                task.cancel()
        return await self.conclude()

    async def pursue(self, screen: View) -> None:
        producer = await self.produce()
        try:
            await self.follow(screen)
        finally:
            await self.finish(screen, producer)

    def introduce(self) -> None:
        handlers = " ".join(handler.name for handler in self.resource.spec.handlers)
        address = self.resource.spec.redis.addresses[0]
        click.echo(f"look in from elsewhere: QUEUE_REDIS_ADDRESS={address} sharded-queue tubes --watch {handlers}")
        if not self.wishes.producer and not self.wishes.is_endless:
            click.echo("no producer was named (--produce COMMAND): this ends as soon as nothing waits")

    # News

    def listen_to_signals(self) -> None:
        def received(number: signal.Signals) -> None:
            self.signals.append(number)
            if len(self.signals) > 1:  # asked again: what was begun is given up, and then killed
                self.crew.tell_all(signal.SIGTERM if len(self.signals) == 2 else signal.SIGKILL)
            self.news.put_nowait(None)

        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` says to go on
                asyncio.get_running_loop().add_signal_handler(number, received, number)

    def fail(self, failure: Exception) -> None:
        self.failure = self.failure or failure
        self.news.put_nowait(None)

    def watch(self, ending: Callable[[], Awaitable[Failed | None]]) -> None:
        """Wait for something to end beside all else; what it ends with may be a failure."""

        async def waited() -> None:
            try:
                if failure := await ending():
                    self.fail(failure)
            except Exception as error:
                self.fail(error)

        self.tasks.append(asyncio.create_task(waited()))

    async def poll(self) -> None:
        poller = Poller(RedisTarget.of(self.resource), secret, lambda _, reading: self.news.put_nowait(reading))
        poller.subscribe(self.resource.name, Subscription.of(self.resource))
        await poller.run()

    async def produce(self) -> Process | None:
        if not self.wishes.producer:
            return None
        log = self.logs / "producer.log"
        process = await started(words(self.wishes.producer), self.place, self.environment, log)
        self.watch(lambda: self.produced(process, log))
        return process

    async def produced(self, process: Process, log: Path) -> Failed | None:
        code = await process.wait()
        self.produced_at = monotonic()
        if code == 0 or self.signals:
            return None
        return Failed(f"the producer, {self.wishes.producer!r}, ended with exit code {code}: {tail(log)}")

    # Steps

    async def follow(self, screen: View) -> None:
        """Observe, decide, apply, until all is handled or something else ends the run."""
        while not (self.signals or self.failure or self.drained_at):
            if reading := await self.news.get():
                await self.step(reading, screen)

    async def step(self, reading: Reading, screen: View) -> None:
        seen = Observation(self.crew.wanted, reading.shards, reading.read_at, reading.doubt)
        decision = decide(seen, self.resource.policy, self.history, monotonic())
        self.history = decision.history
        replicas = seen.replicas if decision.replicas is None else decision.replicas
        await self.crew.scale(replicas, seen.loads)
        self.note(seen)
        seconds = monotonic() - self.started_at
        screen.show(Frame(self.resource.name.name, seconds, seen, decision, self.crew, self.handled(seen.shards)))

    def note(self, seen: Observation) -> None:
        if seen.doubt:
            return
        if seen.depth and self.busy_at is None:
            self.busy_at = seen.read_at
        if not seen.depth and seen.read_at > self.produced_at and not self.wishes.is_endless:
            self.drained_at = seen.read_at

    async def finish(self, screen: View, producer: Process | None) -> None:
        """Nothing new is registered, and what was begun is finished."""
        if producer:
            await ended(producer)
        if self.signals and self.crew.running:
            screen.say(
                f"{self.signals[0].name}: {counted(len(self.crew.running), 'worker')} finishing what they have begun"
            )
        await self.crew.stop(self.resource.spec.drain.timeout_seconds)

    # The end

    async def conclude(self) -> int:
        """
        Say what the run came to; the exit code.

        Raises:
            Failed: something broke, so that there is nothing to be said.
        """
        if self.failure:
            raise self.failure
        outcome = await self.outcome()
        printed(outcome, console())
        if not outcome.is_as_promised:
            return 1
        return 128 + self.signals[0] if self.signals and not self.wishes.is_endless else 0

    async def outcome(self) -> Outcome:
        states = await self.counted()
        registered, handled = await order_check.fetched(self.storage.link.redis, self.journal)
        await order_check.dropped(self.storage.link.redis, self.journal)
        return Outcome(
            name=self.resource.name.name,
            handled=self.handled(states),
            dead=total(states, "dead") - total(self.before, "dead"),
            waiting=total(states, "depth"),
            drain_seconds=self.drained_at - (self.busy_at or self.drained_at) if self.drained_at else None,
            workers=self.crew.most,
            worker_seconds=self.crew.seconds(),
            verdict=order_check.judged(registered, handled) if registered else None,
        )

    async def counted(self) -> Sequence[ShardState]:
        """
        Raises:
            StorageUnavailable: Redis does not answer.
        """
        try:
            return await self.storage.observe(self.resource.spec.shards, 0)
        except StorageUnavailable as error:
            raise StorageUnavailable(f"Redis at {self.resource.spec.redis.addresses[0]}: {error}") from error

    def handled(self, states: Sequence[ShardState]) -> int:
        return max(0, total(states, "settled") - total(self.before, "settled"))


def total(states: Sequence[ShardState], name: str) -> int:
    return sum(getattr(state, name) for state in states)
