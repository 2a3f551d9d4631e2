"""Worker processes in place of pods."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from sharded_queue_operator.local.processes import RunFailed, last_lines, start_process
from sharded_queue_operator.resource.deployment import GRACE_SECONDS, pod_template
from sharded_queue_operator.resource.spec import Resource

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Between a worker that was killed and the next one, twice as long each time."""

CREDENTIALS = ("QUEUE_REDIS_USERNAME", "QUEUE_REDIS_PASSWORD")


@dataclass(slots=True)
class WorkerProcess:
    """*ended_at* is None while the process runs."""

    name: str
    process: Process
    started_at: float
    log: Path
    ended_at: float | None = None
    is_leaving: bool = False

    def seconds(self, now: float) -> float:
        return (now if self.ended_at is None else self.ended_at) - self.started_at

    def leave(self, number: signal.Signals) -> None:
        self.is_leaving = True
        if self.process.returncode is None:
            self.process.send_signal(number)


class LocalWorkers:
    """
    Keeps as many worker processes as are *wanted*.

    A process that was killed is reported to *on_kill* and replaced. One that ended by itself is reported to
    *on_failure*: the next one would do the same.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        logs: Path,
        *,
        on_kill: Callable[[str], None],
        on_failure: Callable[[RunFailed], None],
    ) -> None:
        self.wanted = self.most = 0
        self.all: list[WorkerProcess] = []
        self._command, self._environment, self._folder, self._logs = command, environment, folder, logs
        self._on_kill, self._on_failure = on_kill, on_failure
        self._waiting: set[asyncio.Task[None]] = set()
        self._kills, self._paused_until = 0, 0.0

    @property
    def running(self) -> list[WorkerProcess]:
        """All that have not ended. Leaving workers count too, as the leaving pods of a Deployment do."""
        return [worker for worker in self.all if worker.ended_at is None]

    @property
    def staying(self) -> list[WorkerProcess]:
        return [worker for worker in self.running if not worker.is_leaving]

    def seconds(self) -> float:
        """How long workers existed, summed: what a cluster calls pod-seconds."""
        return sum(worker.seconds(monotonic()) for worker in self.all)

    async def scale(self, replicas: int, going: Set[str] = frozenset()) -> None:
        """Stop the workers that are *going*, and start workers until *replicas* stay."""
        self.wanted = replicas
        for worker in self.staying:
            if worker.name in going:
                worker.leave(signal.SIGTERM)
        while len(self.staying) < replicas and monotonic() >= self._paused_until:
            await self._start()

    async def _start(self) -> None:
        name = f"worker-{len(self.all) + 1}"
        log = self._logs / f"{name}.log"
        environment = {**self._environment, "QUEUE_WORKER_NAME": name}
        process = await start_process(self._command, self._folder, environment, log)
        worker = WorkerProcess(name, process, monotonic(), log)
        self.all.append(worker)
        self.most = max(self.most, len(self.running))
        waiting = asyncio.create_task(self._await_end(worker))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def _await_end(self, worker: WorkerProcess) -> None:
        code = await worker.process.wait()
        worker.ended_at = monotonic()
        if worker.is_leaving:
            return
        if code >= 0:
            self._on_failure(RunFailed(f"{worker.name} ended with exit code {code}: {last_lines(worker.log)}"))
            return
        self._paused_until = monotonic() + min(FIRST_PAUSE_SECONDS * 2.0**self._kills, LONGEST_PAUSE_SECONDS)
        self._kills += 1
        self._on_kill(f"{worker.name} was killed ({signal.Signals(-code).name}); another one takes its place")

    def signal_all(self, number: signal.Signals) -> None:
        for worker in self.running:
            worker.leave(number)

    async def stop(self, drain_seconds: float) -> None:
        """Let all workers finish what they have begun; kill those that do not in time."""
        self.wanted = 0
        self.signal_all(signal.SIGTERM)
        if self._waiting:
            await asyncio.wait(set(self._waiting), timeout=drain_seconds + GRACE_SECONDS)
        self.signal_all(signal.SIGKILL)
        await asyncio.gather(*self._waiting)


def environment(resource: Resource, folder: Path, journal: str) -> dict[str, str]:
    """What a pod of this resource would get, over what this process has; `QUEUE_…` comes from the resource alone."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("QUEUE_")}
    containers = pod_template(resource)["spec"]["containers"]
    given = next(container for container in containers if container["name"] == "worker").get("env", [])
    path = os.pathsep.join(filter(None, [str(folder), own.get("PYTHONPATH")]))
    return {
        **own,
        **{item["name"]: str(item["value"]) for item in given if "value" in item},
        **{name: os.environ[name] for name in CREDENTIALS if name in os.environ},
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "QUEUE_METRICS_PORT": "0",
        "SHARDED_QUEUE_JOURNAL": journal,
    }
