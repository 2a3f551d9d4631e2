"""
What a worker process takes until it looks for threads: CPU time from its exec, and round trips. The program has an
environment of its own with the packages of its image, and no others.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from bench import environments
from bench.figure import Figure, number
from bench.scale import Scale
from sharded_queue.backends.redis.scripts import digest
from tools.redis_proxy import LookProxy

LOOK_SECONDS = 30.0
MODULE = "start"
HANDLER = """
from typing import NamedTuple

from sharded_queue import Handler


class Ask(NamedTuple):
    number: int


class Started(Handler):
    name = "bench.started"

    async def perform(self, *requests: Ask) -> None: ...
"""
BARE = """
import os
import socket

connection = socket.create_connection(("127.0.0.1", int(os.environ["QUEUE_REDIS_ADDRESS"].partition(":")[2])))
connection.sendall(b"*3\\r\\n$5\\r\\nBLPOP\\r\\n$4\\r\\nbare\\r\\n$1\\r\\n0\\r\\n")
connection.recv(4096)
"""
"""A worker of the standard library. The issue is not what it can do, but what Python and a connection take."""


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    program = environments.worker()
    (environments.PLACE / f"{MODULE}.py").write_text(HANDLER)
    python = str(program.with_name("python"))
    ours, bare = [str(program), "worker", MODULE], [python, "-c", BARE]
    port = redis.connection_pool.connection_kwargs["port"]
    await redis.flushall()
    await redis.script_flush()
    _, first = await looked(port, ours, digest("bind").encode())  # also has Python write the bytecode
    runs: dict[str, list[float]] = {"ours": [], "bare": [], "python": []}
    for _ in range(scale.starts):
        seconds, trips = await looked(port, ours, digest("bind").encode())
        runs["ours"].append(seconds)
        runs["bare"].append((await looked(port, bare, b"BLPOP"))[0])
        runs["python"].append(ended([python, "-c", "pass"]))
    cpu = {name: median(seconds) for name, seconds in runs.items()}
    yield Figure(
        "CPU time of a worker from exec to its first look for threads",
        cpu["ours"],
        "s",
        f"{number(cpu['ours'] / cpu['bare'])} × a bare worker of the standard library, "
        f"{number(cpu['bare'])} s; `python -c pass` {number(cpu['python'])} s",
        0.12,
        "≤",
    )
    yield Figure("… round trips before that look", trips, "", f"{first} where Redis has never seen the scripts")


async def looked(port: int, command: Sequence[str], word: bytes) -> tuple[float, int]:
    """Start a worker; its CPU seconds, and its round trips, before it sends the command that has *word*."""
    seconds = 0.0

    def found() -> None:
        nonlocal seconds
        seconds = cpu_seconds(process.pid)

    async with LookProxy(port, word, found) as proxy:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=environments.PLACE, env=environment(proxy.port), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await proxy.has_looked.wait()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        return seconds, proxy.trips - 1


def environment(port: int) -> Mapping[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}",
        "QUEUE_METRICS_PORT": "0",
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process that waits, in all its OS threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def ended(command: Sequence[str]) -> float:
    """User and system time of a process, from its exec to its end."""
    pid = os.posix_spawn(command[0], list(command), os.environ)
    used = os.wait4(pid, 0)[2]
    return used.ru_utime + used.ru_stime
