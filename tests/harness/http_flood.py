"""Clients that try to use up a server: heads without an end, and heads that come a byte at a time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

BOMB = b"GET /livez HTTP/1.1\r\n" + (b"A: " + b"b" * 65_000 + b"\r\n") * 98
"""6.4 MB of a head that does not end."""
SECONDS = 20.0


def peak_mebibytes(pid: int) -> float:
    """The most memory that a process ever had resident, as the kernel counted it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kibibytes) / 1024


def asked(port: int, path: str = "/livez") -> tuple[str, float]:
    """The answer, and after how many seconds it came."""
    began = time.monotonic()
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
        return answer.read().decode(), time.monotonic() - began


@contextmanager
def bombs(port: int, count: int) -> Iterator[None]:
    """Connections that send as much of a `BOMB` each as the server takes, while the body runs."""
    sockets = [connected(port) for _ in range(count)]
    senders = [threading.Thread(target=_bomb, args=(each,), daemon=True) for each in sockets]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        for sender in senders:
            sender.join(SECONDS)
        for each in sockets:
            each.close()


@contextmanager
def drips(port: int, count: int) -> Iterator[None]:
    """Connections of which each has begun a head and does not go on, while the body runs."""
    sockets = [connected(port) for _ in range(count)]
    for each in sockets:
        with suppress(OSError):
            each.sendall(b"G")
    try:
        yield
    finally:
        for each in sockets:
            each.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def _bomb(target: socket.socket) -> None:
    with suppress(OSError):  # the server cuts it off, as it should
        target.sendall(BOMB)
