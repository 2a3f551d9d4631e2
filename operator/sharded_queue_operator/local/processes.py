"""This machine in place of a cluster: a Redis of our own, and worker processes in place of pods."""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from sharded_queue.errors import ShardedQueueError
from sharded_queue_operator.resource.deployment import GRACE_SECONDS, pod_template
from sharded_queue_operator.resource.spec import Resource

SERVERS = ("redis-server", "valkey-server")
READY, TAKEN = b"Ready to accept connections", "Address already in use"
START_SECONDS = 10.0
LOOK_SECONDS = 0.01
TAIL_LINES = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
CREDENTIALS = ("QUEUE_REDIS_USERNAME", "QUEUE_REDIS_PASSWORD")


class Failed(ShardedQueueError):
    """Something that this run needs does not work; the message says what to do."""


class LocalRedis:
    """A Redis on a free port of the loopback that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.process: Process | None = None

    async def start(self) -> str:
        """
        Start it and wait until it serves; its address.

        Raises:
            Failed: no server is installed, or it did not start.
        """
        async with asyncio.timeout(START_SECONDS):
            while not await self._has_started(free_port()):
                continue
        return self.address

    async def _has_started(self, port: int) -> bool:
        """False where another program took the port first. Only the log tells which of the two answers there."""
        log = self.folder / "redis.log"
        begin = log.stat().st_size if log.exists() else 0
        self.process = await started([*self.command(), "--port", str(port)], self.folder, os.environ, log)
        while READY not in log.read_bytes()[begin:]:
            if self.process.returncode is not None:
                if TAKEN in tail(log):
                    return False
                raise Failed(f"{self.command()[0]} did not start: {tail(log)}")
            await asyncio.sleep(LOOK_SECONDS)
        self.address = f"127.0.0.1:{port}"
        return True

    def command(self) -> list[str]:
        server = next(filter(None, map(shutil.which, SERVERS)), None)
        if server is None:
            raise Failed(
                f"neither {' nor '.join(SERVERS)} is on PATH: install one (apt-get install redis-server,"
                " brew install redis), or name a running Redis by --redis HOST:PORT"
            )
        keeps_nothing = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        return [server, "--bind", "127.0.0.1", "--dir", str(self.folder), *keeps_nothing]

    async def ended(self) -> Failed:
        """Wait until it ends, which it should not; what to say then."""
        assert self.process
        code = await self.process.wait()
        return Failed(f"the Redis of this run ended with exit code {code}: {tail(self.folder / 'redis.log')}")

    async def stop(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


@dataclass(slots=True)
class Member:
    """One worker process; *ended_at* is None while it runs."""

    name: str
    process: Process
    started_at: float
    log: Path
    ended_at: float | None = None
    is_leaving: bool = False

    def seconds(self, now: float) -> float:
        return (now if self.ended_at is None else self.ended_at) - self.started_at

    def tell(self, what: signal.Signals) -> None:
        self.is_leaving = True
        if self.process.returncode is None:
            self.process.send_signal(what)


class Crew:
    """
    Worker processes in place of pods: as many as are *wanted*, those that were killed replaced.

    *say* hears of a process that was killed, *fail* of one that ended by itself: the next one would do the same.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], place: Path, logs: Path) -> None:
        self.command, self.environment, self.place, self.logs = command, environment, place, logs
        self.say: Callable[[str], None] = print
        self.fail: Callable[[Failed], None] = print
        self.wanted = self.most = 0
        self.members: list[Member] = []
        self._watching: set[asyncio.Task[None]] = set()
        self._pause_seconds, self._paused_until = FIRST_PAUSE_SECONDS, 0.0

    @property
    def running(self) -> list[Member]:
        """Those that exist, the leaving ones too, as the pods of a Deployment do."""
        return [member for member in self.members if member.ended_at is None]

    @property
    def staying(self) -> list[Member]:
        return [member for member in self.running if not member.is_leaving]

    def seconds(self) -> float:
        """For how long workers existed, summed: what a cluster calls pod-seconds."""
        return sum(member.seconds(monotonic()) for member in self.members)

    async def scale(self, replicas: int, loads: Mapping[str, int]) -> None:
        """Start or stop workers until *replicas* stay; those that hold least, and then the youngest, leave first."""
        self.wanted = replicas
        leaving = sorted(self.staying, key=lambda member: (loads.get(member.name, 0), -member.started_at))
        for member in leaving[: max(0, len(self.staying) - replicas)]:
            member.tell(signal.SIGTERM)
        while len(self.staying) < replicas and monotonic() >= self._paused_until:
            await self._start()

    async def _start(self) -> None:
        name = f"worker-{len(self.members) + 1}"
        log = self.logs / f"{name}.log"
        environment = {**self.environment, "QUEUE_WORKER_NAME": name}
        process = await started(self.command, self.place, environment, log)
        member = Member(name, process, monotonic(), log)
        self.members.append(member)
        self.most = max(self.most, len(self.running))
        watching = asyncio.create_task(self._watch(member))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    async def _watch(self, member: Member) -> None:
        code = await member.process.wait()
        member.ended_at = monotonic()
        if member.is_leaving:
            return
        if code >= 0:
            self.fail(Failed(f"{member.name} ended with exit code {code}: {tail(member.log)}"))
            return
        self._paused_until = monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        self.say(f"{member.name} was killed ({signal.Signals(-code).name}); another one takes its place")

    def tell_all(self, what: signal.Signals) -> None:
        for member in self.running:
            member.tell(what)

    async def stop(self, drain_seconds: float) -> None:
        """Let all finish what they have begun; those that do not in time are killed."""
        self.wanted = 0
        self.tell_all(signal.SIGTERM)
        if self._watching:
            await asyncio.wait(set(self._watching), timeout=drain_seconds + GRACE_SECONDS)
        self.tell_all(signal.SIGKILL)
        await asyncio.gather(*self._watching)


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


def words(command: str) -> list[str]:
    """A command as one would type it; its `python` is ours."""
    try:
        first, *rest = shlex.split(command)
    except ValueError as error:
        raise Failed(f"the producer's command {command!r} cannot be read: {error or 'it is empty'}") from None
    return [sys.executable if first in {"python", "python3"} else first, *rest]


async def started(command: Sequence[str], place: Path, environment: Mapping[str, str], log: Path) -> Process:
    """A process in a session of its own: a Ctrl-C of the terminal is meant for us, and we pass it on in our way."""
    with log.open("ab") as output:
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=place,
                env=dict(environment),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{command[0]} cannot be started: {error.strerror}") from error


async def ended(process: Process) -> None:
    """Ask it to end, and kill it when it has not within the grace that a pod has."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def tail(log: Path) -> str:
    """The last thing a process said."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-TAIL_LINES:]) or "it said nothing"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
