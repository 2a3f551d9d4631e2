"""
A real redis-server for tests and benchmarks, on a free port of the loopback, that can be stopped, killed and paused.

Its files are in a folder of the caller, so that a server that is started again finds its data.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tools.ports import free_port

START_SECONDS = 20.0
PORTS_TO_TRY = 5
TAKEN = "Address already in use"

Ask = Callable[[Callable[[Redis], Awaitable[Any]]], Any]
"""Sends a question to a Redis from a test that is not async, and returns the answer."""


class RedisServer:
    """One redis-server process. *options* go to its command line, such as `{"appendonly": "yes"}`."""

    program = "redis-server"

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder = folder
        self._port: int | None = None
        self._options = {"save": "", "appendonly": "no", **options}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """A free port, chosen when it is first read and kept from then on."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> "RedisServer":
        """
        Start and wait until it answers.

        Another process may take its port, or that of its Cluster bus, first. The server then tries another port, unless
        its port has been read already.
        """
        for _ in range(PORTS_TO_TRY if self._port is None else 1):
            if self._has_started():
                return self
            self._port = None
        raise RuntimeError(f"{self.program} found its ports taken: {self._log()}")

    def _has_started(self) -> bool:
        """False if a port was taken."""
        self.folder.mkdir(parents=True, exist_ok=True)
        begin = len(self._log())
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None and TAKEN in self._log()[begin:]:
                return False
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.program} did not start: {self._log()[-2000:]}")
            time.sleep(0.005)
        return True

    def _log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""

    def _command(self) -> list[str]:
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), **self._options}
        return [self.program, *[part for name, value in options.items() for part in (f"--{name}", value)]]

    def answers(self) -> bool:
        """Whether it serves commands. A server that is loading its data does not."""
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=0.5)

    def stop(self) -> None:
        """Stop in an orderly way: what it should keep is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop at once, as in a crash."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop answering, and keep connections open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(timeout=20)
        self._process = None
