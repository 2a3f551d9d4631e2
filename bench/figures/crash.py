"""The time from the kill of a worker process until another worker continues its thread."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from bench.figure import Figure
from bench.load import Small
from bench.scale import Scale
from sharded_queue import Handler, Queue, RedisStorage, Route, settings

HANDLED = "bench:handled"
WAITING = 1000
PATIENCE_SECONDS = 60.0


class Slow(Handler):
    """Prints the worker and the time of each batch, by the clock that all processes of a machine share."""

    name = "bench.slow"

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route("one")] * len(requests)

    async def start(self) -> None:
        host, port = settings.redis_address[0].split(":")
        self.redis = Redis(host=host, port=int(port))

    async def perform(self, *requests: Small) -> None:
        await self.redis.rpush(HANDLED, f"{settings.worker_name} {time.monotonic()}")
        await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await self.redis.aclose()


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    if not scale.waits_for_leases:
        return
    await redis.flushall()
    await Queue(RedisStorage(redis)).register(Slow, *[Small(number, "slow") for number in range(WAITING)])
    port = redis.connection_pool.connection_kwargs["port"]
    first = worker(port, "first")
    await handled_by(redis, "first")
    second = worker(port, "second")
    try:
        await asyncio.sleep(3.0)
        killed_at = time.monotonic()
        first.send_signal(signal.SIGKILL)
        seconds = await handled_by(redis, "second") - killed_at
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    lease = settings.coordinator_lease
    yield Figure("kill -9 → its thread handled elsewhere", seconds, "s", f"the lease is {lease:g} s", lease + 1, "≤")


def worker(port: int, name: str) -> "subprocess.Popen[bytes]":
    own = {key: value for key, value in os.environ.items() if not key.startswith("QUEUE_")}
    own |= {"QUEUE_REDIS_ADDRESS": f"127.0.0.1:{port}", "QUEUE_WORKER_NAME": name, "QUEUE_METRICS_PORT": "0"}
    own |= {"QUEUE_WORKER_BATCH_SIZE": "1"}
    command = [sys.executable, "-m", "sharded_queue", "worker", "bench.figures.crash"]
    return subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def handled_by(redis: Redis, name: str) -> float:
    """When that worker handled its first request."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            lines: Any = await redis.lrange(HANDLED, 0, -1)
            for line in lines:
                worker, handled_at = line.decode().split()
                if worker == name:
                    return float(handled_at)
            await asyncio.sleep(0.05)
