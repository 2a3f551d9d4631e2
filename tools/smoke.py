"""Whether the installed package, with one extra alone, does what that extra is for: `python -I smoke.py EXTRA`."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from sharded_queue import (
    Coordinator,
    Handler,
    Queue,
    Route,
    RuntimeCoordinator,
    RuntimeStorage,
    Storage,
    Worker,
)

BIN = Path(sys.executable).parent


class Notify(Handler[int]):
    handled: list[int]

    @classmethod
    async def route(cls, *requests: int) -> list[Route]:
        return [Route(thread=request % 3) for request in requests]

    async def perform(self, *requests: int) -> None:
        self.handled.extend(requests)


async def handles(storage: Storage, coordinator: Coordinator) -> None:
    Notify.handled = []
    queue = Queue(storage)
    await queue.register(Notify, *range(9))
    await Worker(coordinator, queue, handlers=[Notify]).loop(9)
    assert [[n for n in Notify.handled if n % 3 == thread] for thread in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def none() -> None:
    assert find_spec("redis") is None
    asyncio.run(handles(RuntimeStorage(), RuntimeCoordinator()))
    assert "pip install 'sharded-queue[worker]'" in said("sharded-queue", "--version", code=1)


def redis() -> None:
    from sharded_queue import RedisCoordinator, RedisOptions, RedisStorage, connect  # noqa: PLC0415
    from sharded_queue.backends.redis.client import close  # noqa: PLC0415

    sys.path.append(str(Path(__file__).parents[1]))
    from tools.redis_server import RedisServer  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder)).start()

        async def on_redis() -> None:
            client = connect(RedisOptions((server.address,)))
            try:
                await handles(RedisStorage(client), RedisCoordinator(client))
            finally:
                await close(client)

        try:
            asyncio.run(on_redis())
        finally:
            server.kill()


def worker() -> None:
    assert said("sharded-queue", "--version").split()[-1] == version("sharded-queue")
    commands("worker")


def web() -> None:
    commands("web")


def reload() -> None:
    assert find_spec("watchfiles")


def otel() -> None:
    from sharded_queue import tracing  # noqa: PLC0415

    assert find_spec("opentelemetry.trace")
    assert tracing
    none_but_otel = RuntimeStorage()
    asyncio.run(handles(none_but_otel, RuntimeCoordinator()))


def operator() -> None:
    assert said("sharded-queue-operator", "--version").split()[-1] == version("sharded-queue")
    commands("operator")


def commands(extra: str) -> None:
    """Each command that comes with an extra can be asked for help, which imports all that it needs."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    from sharded_queue.cli.program import ADDED, OWN  # noqa: PLC0415

    points = [*OWN.values(), *entry_points(group=ADDED)]
    names = [point.name for point in points if point.extras == [extra] or tuple(point.extras) == (extra,)]
    for name in names:
        assert "Usage:" in said("sharded-queue", name, "--help"), name
    print(f"{len(names)} commands of {extra}: {' '.join(names)}")


def said(program: str, *words: str, code: int = 0) -> str:
    done = subprocess.run([BIN / program, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


if __name__ == "__main__":
    {f.__name__: f for f in (none, redis, worker, web, reload, otel, operator)}[sys.argv[1] or "none"]()
    print(f"sharded-queue[{sys.argv[1]}] {version('sharded-queue')} on Python {sys.version.split()[0]}: works")
