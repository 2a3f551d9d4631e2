"""
One session of a ShardedQueue on this machine, from its first reading to its report.

The operator's own poller observes it and the operator's own function decides; only the workers are local processes.
"""

import asyncio
import base64
import shlex
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
from sharded_queue_operator.local.live_view import Frame, view_on
from sharded_queue_operator.local.local_console import local_console
from sharded_queue_operator.local.processes import RunFailed, last_lines, start_process, stop_process
from sharded_queue_operator.local.report import Outcome, print_report
from sharded_queue_operator.local.scale_down import LocalScaleDown
from sharded_queue_operator.local.workers import LocalWorkers, environment
from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.polling.guard import Budgets
from sharded_queue_operator.polling.poller import Poller
from sharded_queue_operator.polling.reader import Reading, Subscription
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.scaling.decide import decide
from sharded_queue_operator.scaling.history import History
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.surplus import Stage

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEVER = float("inf")


class RunOptions(NamedTuple):
    """What the command line asks for. *address*: a Redis to use, None to start one."""

    address: str | None
    producer: str | None
    is_endless: bool
    logs: Path | None


class LocalSession:
    """Readings, signals and failures all come in as news, so that no step is ever broken off halfway."""

    def __init__(
        self, resource: Resource, storage: RedisStorage, folder: Path, logs: Path, options: RunOptions
    ) -> None:
        assert resource.spec.worker
        self._resource, self._storage, self._options = resource, storage, options
        self._folder, self._logs = folder, logs
        self._journal = f"sharded-queue-run:{uuid4().hex[:8]}"
        self._environment = environment(resource, folder, self._journal)
        self._view = view_on(console())
        self._workers = LocalWorkers(
            [sys.executable, "-m", "sharded_queue", "worker", *resource.spec.worker.modules],
            self._environment,
            folder,
            logs,
            on_kill=self._view.say,
            on_failure=self._fail,
        )
        self._scale_down = LocalScaleDown(storage, resource.spec.shards)
        self._news: asyncio.Queue[Reading | None] = asyncio.Queue()
        self._history = History()
        self._before: Sequence[ShardState] = ()
        self._started_at = monotonic()
        self._busy_at: float | None = None
        self._drained_at: float | None = None
        self._produced_at = NEVER if options.producer else self._started_at
        self._signals: list[signal.Signals] = []
        self._failure: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Run until the end, and print the report; the exit code."""
        self._before = await self._count()
        async with local_console(self._resource, self._folder, self._logs, self._environment) as page:
            await self._show(page)
        return await self._conclude()

    async def _show(self, page: str | None) -> None:
        self._introduce(page)
        self._listen_to_signals()
        self.end_with(self._poll)
        self._view.start()
        try:
            await self._work()
        finally:
            self._view.stop()
            for task in self._tasks:
                task.cancel()

    def _introduce(self, page: str | None) -> None:
        handlers = " ".join(handler.name for handler in self._resource.spec.handlers)
        address = self._resource.spec.redis.addresses[0]
        click.echo(
            f"watch it from another terminal: QUEUE_REDIS_ADDRESS={address} sharded-queue threads --watch {handlers}"
        )
        if page:
            click.echo(f"or in a browser: {page}")
        if not self._options.producer and not self._options.is_endless:
            click.echo("there is no producer (--produce COMMAND): this ends as soon as no requests wait")

    async def _work(self) -> None:
        producer = await self._produce()
        try:
            await self._scale()
        finally:
            await self._finish(producer)

    # News

    def end_with(self, ending: Callable[[], Awaitable[RunFailed | None]]) -> None:
        """Await *ending* in the background; if it returns or raises a failure, end the session with that."""

        async def waited() -> None:
            try:
                if failure := await ending():
                    self._fail(failure)
            except Exception as error:
                self._fail(error)

        self._tasks.append(asyncio.create_task(waited()))

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._news.put_nowait(None)

    def _listen_to_signals(self) -> None:
        def received(number: signal.Signals) -> None:
            self._signals.append(number)
            if (
                len(self._signals) > 1
            ):  # the second signal makes workers give up what they have begun, the third kills them
                self._workers.signal_all(signal.SIGTERM if len(self._signals) == 2 else signal.SIGKILL)
            self._news.put_nowait(None)

        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` says to go on
                asyncio.get_running_loop().add_signal_handler(number, received, number)

    async def _poll(self) -> None:
        target = RedisTarget.of(self._resource)
        poller = Poller(target, _credentials, lambda _, reading: self._news.put_nowait(reading), Budgets())
        poller.subscribe(self._resource.name, Subscription.of(self._resource))
        await poller.run()

    async def _produce(self) -> Process | None:
        if not self._options.producer:
            return None
        log = self._logs / "producer.log"
        process = await start_process(words(self._options.producer), self._folder, self._environment, log)
        self.end_with(lambda: self._produced(process, log))
        return process

    async def _produced(self, process: Process, log: Path) -> RunFailed | None:
        code = await process.wait()
        self._produced_at = monotonic()
        if code == 0 or self._signals:
            return None
        producer = self._options.producer
        return RunFailed(f"the producer, {producer!r}, ended with exit code {code}: {last_lines(log)}")

    # Steps

    async def _scale(self) -> None:
        """Observe, decide, apply, until all requests are handled or something else ends the session."""
        while not (self._signals or self._failure or self._drained_at):
            if reading := await self._news.get():
                await self._step(reading)

    async def _step(self, reading: Reading) -> None:
        seen = Observation(self._workers.wanted, reading.shards, reading.read_at, reading.doubt, reading.is_hurried)
        decision = decide(seen, self._resource.policy, self._history, monotonic())
        self._history = decision.history
        plan = await self._scale_down.follow(self._workers.staying, seen, decision)
        await self._workers.scale(plan.replicas, plan.names(Stage.GONE))
        self._note_drain(seen)
        seconds, handled = monotonic() - self._started_at, self._handled(seen.shards)
        self._view.show(Frame(self._resource.name.name, seconds, seen, decision, self._workers, handled))

    def _note_drain(self, seen: Observation) -> None:
        if seen.doubt:
            return
        if seen.depth and self._busy_at is None:
            self._busy_at = seen.read_at
        if not seen.depth and seen.read_at > self._produced_at and not self._options.is_endless:
            self._drained_at = seen.read_at

    async def _finish(self, producer: Process | None) -> None:
        """Stop the producer, and let the workers finish what they have begun."""
        if producer:
            await stop_process(producer)
        if self._signals and (running := self._workers.running):
            self._view.say(f"{self._signals[0].name}: {counted(len(running), 'worker')} finishing what they have begun")
        await self._workers.stop(self._resource.spec.drain.timeout_seconds)

    # The end

    async def _conclude(self) -> int:
        """
        Print the report; the exit code.

        Raises:
            RunFailed: something broke, so that there is nothing to report.
        """
        if self._failure:
            raise self._failure
        outcome = await self._outcome()
        print_report(outcome, console())
        if not outcome.is_as_promised:
            return 1
        return 128 + self._signals[0] if self._signals and not self._options.is_endless else 0

    async def _outcome(self) -> Outcome:
        states, redis = await self._count(), self._storage.link.redis
        registered, handled = await order_check.read_journal(redis, self._journal)
        await order_check.delete_journal(redis, self._journal)
        return Outcome(
            name=self._resource.name.name,
            handled=self._handled(states),
            dead=_total(states, "dead") - _total(self._before, "dead"),
            waiting=_total(states, "depth"),
            drain_seconds=self._drained_at - (self._busy_at or self._drained_at) if self._drained_at else None,
            workers=self._workers.most,
            worker_seconds=self._workers.seconds(),
            verdict=order_check.check_order(registered, handled) if registered else None,
        )

    async def _count(self) -> Sequence[ShardState]:
        """
        Raises:
            StorageUnavailable: Redis does not answer.
        """
        try:
            return await self._storage.observe(self._resource.spec.shards, 0)
        except StorageUnavailable as error:
            raise StorageUnavailable(f"Redis at {self._resource.spec.redis.addresses[0]}: {error}") from error

    def _handled(self, states: Sequence[ShardState]) -> int:
        return max(0, _total(states, "settled") - _total(self._before, "settled"))


async def _credentials(_: Name) -> dict[str, Any]:
    """What a Secret would hold in a cluster."""
    password = settings.redis_password.get_secret_value() if settings.redis_password else ""
    texts = {"username": settings.redis_username, "password": password}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items() if text}
    return {"metadata": {"resourceVersion": "1"}, "data": data}


def words(command: str) -> list[str]:
    """A command as one would type it. Its `python` is the one that runs this."""
    try:
        first, *rest = shlex.split(command)
    except ValueError as error:
        raise RunFailed(f"the producer's command {command!r} cannot be read: {error or 'it is empty'}") from None
    return [sys.executable if first in {"python", "python3"} else first, *rest]


def _total(states: Sequence[ShardState], name: str) -> int:
    return sum(getattr(state, name) for state in states)
