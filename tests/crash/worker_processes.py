"""Real worker processes that are killed, stopped and rolled out, and a producer that feeds them meanwhile."""

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisStorage, Retry, Route, Snooze, current, settings
from sharded_queue.cli.commands.worker import serve
from sharded_queue.cli.hooks import Hooks
from tests.crash.history import Recorder
from tools.redis_server import RedisServer

BATCH = 10
LEASE_SECONDS = 0.6
THREADS = [f"t{n}" for n in range(6)]


class Step(NamedTuple):
    thread: str
    number: int


class Trouble:
    """
    Requests of certain numbers fail or snooze in three of five tries, whichever worker has them, so some of them
    use up their tries. Each failure and each snooze is a line of a file.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._file = os.open(folder / f"{worker}.trouble", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def come_over(self, request: Step) -> None:
        if request.number % 29 == 7 and random.random() < 0.6:
            os.write(self._file, b"failed\n")
            raise ValueError("no cover")
        if request.number % 31 == 5 and random.random() < 0.6:
            os.write(self._file, b"snoozed\n")
            raise Snooze(0.05, "closed")


class StepHandler(Handler):
    """Does its requests one by one and writes each into the history when its work is done."""

    name = "tests.Step"
    recorder: Recorder
    work_seconds = 0.002
    trouble: Trouble | None = None

    @classmethod
    async def route(cls, *requests: Step) -> list[Route]:
        return [Route(request.thread) for request in requests]

    async def perform(self, *requests: Step) -> None:
        for place, request in enumerate(requests):
            await asyncio.sleep(self.work_seconds)
            if self.trouble:
                current().done(place)
                self.trouble.come_over(request)
            self.recorder.done(request.thread, request.number, current().lease.fence)


def work(address: str, folder: str, name: str, lease_seconds: float) -> None:
    """A worker process: what the command line starts, with the settings of these tests."""
    settings.redis_address, settings.worker_name, settings.metrics_port = (address,), name, 0
    settings.coordinator_lease, settings.coordinator_delay = lease_seconds, 0.2
    settings.worker_batch_size, settings.worker_concurrency = BATCH, 2
    settings.crash_limit = 1_000_000  # no request is to blame here
    StepHandler.recorder = Recorder(Path(folder), name)
    asyncio.run(serve([StepHandler], Hooks([], None)))


def work_with_trouble(address: str, folder: str, name: str, lease_seconds: float) -> None:
    """As `work`, and a request that uses up its tries stops its thread."""
    StepHandler.trouble = Trouble(Path(folder), name)
    StepHandler.retry = Retry(limit=2, base_seconds=0.01, cap_seconds=0.01, exhausted="pause", max_snoozes=2)
    work(address, folder, name, lease_seconds)


class WorkerProcesses:
    """Workers over one Redis, each a process of its own, forked from one that has everything imported."""

    def __init__(self, server: RedisServer, folder: Path, work: Callable[..., None] = work) -> None:
        self.server, self.folder, self.work = server, folder, work
        self.arguments: tuple[object, ...] = ()
        """What `work` is given beside the address, the folder, the name and the lease."""
        self.workers: list[BaseProcess] = []
        self.lease_seconds = LEASE_SECONDS
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.crash.worker_processes"])
        self._started = 0

    def start(self, count: int = 1) -> None:
        for _ in range(count):
            self._started += 1
            name = f"w{self._started}"
            arguments = (self.server.address, str(self.folder), name, self.lease_seconds, *self.arguments)
            worker = self._context.Process(target=self.work, args=arguments, name=name, daemon=True)
            worker.start()
            self.workers.append(worker)

    def kill(self, worker: BaseProcess) -> None:
        """As a node that loses its power: no signal handler runs."""
        worker.kill()
        worker.join(10)
        self.workers.remove(worker)

    def pause(self, worker: BaseProcess) -> None:
        assert worker.pid
        os.kill(worker.pid, signal.SIGSTOP)

    def resume(self, worker: BaseProcess) -> None:
        assert worker.pid
        os.kill(worker.pid, signal.SIGCONT)

    async def roll_out(self, worker: BaseProcess) -> int | None:
        """Start another one, tell this one to stop; its exit code."""
        self.start()
        return await self.stop(worker)

    async def stop(self, worker: BaseProcess) -> int | None:
        worker.terminate()
        await asyncio.to_thread(worker.join, 30)
        self.workers.remove(worker)
        return worker.exitcode

    async def stop_all(self) -> list[int | None]:
        return await asyncio.gather(*[self.stop(worker) for worker in list(self.workers)])

    def kill_all(self) -> None:
        for worker in list(self.workers):
            self.kill(worker)


class Producer:
    """Registers requests over all threads, a few at a time, and knows how many each thread got."""

    def __init__(self, host: str, port: int = 6379) -> None:
        self.redis = Redis(host=host, port=port)
        self.storage = RedisStorage(self.redis)
        self.queue = Queue(self.storage)
        self.registered = dict.fromkeys(THREADS, 0)
        self.is_done = False
        """Set to end `feed` between two registrations: one that is cut off may or may not have been carried out."""

    async def register(self, a_thread: int) -> None:
        steps = [Step(thread, self.registered[thread] + n) for thread in THREADS for n in range(a_thread)]
        await self.queue.register(StepHandler, *steps)
        for thread in THREADS:
            self.registered[thread] += a_thread

    async def depth(self) -> int:
        return sum(state.depth for state in await self.storage.observe(StepHandler.all_shards()))

    async def feed(self, at_most: int = 400) -> None:
        """Keep workers busy until told that it is enough, with no more in the queue than they can do soon."""
        while not self.is_done:
            if await self.depth() < at_most:
                await self.register(BATCH)
            await asyncio.sleep(0.02)

    async def drained(self) -> None:
        while await self.depth():  # noqa: ASYNC110 - the workers are other processes, and call nobody here
            await asyncio.sleep(0.05)
