"""A Redis of the session's own."""

import asyncio
import os
import shutil
import socket
from asyncio.subprocess import Process
from pathlib import Path

from sharded_queue_operator.local.processes import RunFailed, last_lines, start_process

SERVERS = ("redis-server", "valkey-server")
READY, TAKEN = b"Ready to accept connections", "Address already in use"
START_SECONDS = 10.0
LOOK_SECONDS = 0.01


class LocalRedis:
    """A Redis on a free port of the loopback interface that writes nothing to disk."""

    def __init__(self, folder: Path) -> None:
        self.address = ""
        self._folder = folder
        self._log = folder / "redis.log"
        self._process: Process | None = None

    async def start(self) -> str:
        """
        Start it and wait until it serves; its address.

        Raises:
            RunFailed: no server is installed, or it did not start.
        """
        async with asyncio.timeout(START_SECONDS):
            while not await self._has_started(free_port()):
                continue
        return self.address

    async def _has_started(self, port: int) -> bool:
        """False when another program took the port first. Only the log shows which of the two answers there."""
        begin = self._log.stat().st_size if self._log.exists() else 0
        command = [*self.command(), "--port", str(port)]
        self._process = await start_process(command, self._folder, os.environ, self._log)
        while READY not in self._log.read_bytes()[begin:]:
            if self._process.returncode is not None:
                if TAKEN in last_lines(self._log):
                    return False
                raise RunFailed(f"{command[0]} did not start: {last_lines(self._log)}")
            await asyncio.sleep(LOOK_SECONDS)
        self.address = f"127.0.0.1:{port}"
        return True

    def command(self) -> list[str]:
        server = next(filter(None, map(shutil.which, SERVERS)), None)
        if server is None:
            raise RunFailed(
                f"neither {' nor '.join(SERVERS)} is on PATH: install one (apt-get install redis-server,"
                " brew install redis), or name a running Redis by --redis HOST:PORT"
            )
        keeps_nothing = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        return [server, "--bind", "127.0.0.1", "--dir", str(self._folder), *keeps_nothing]

    async def ended(self) -> RunFailed:
        """Wait until it ends, which it should not do during a session; the failure to report then."""
        assert self._process
        code = await self._process.wait()
        return RunFailed(f"the Redis of this run ended with exit code {code}: {last_lines(self._log)}")

    async def stop(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
