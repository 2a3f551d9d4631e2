"""The keys that scripts read, and what a test writes into them."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from tests.contract.backend import RedisBackend, handed

BASE, LOCK = "tube_{tests.Handler}", "lock_{tests.Handler}"
KINDS = {
    "threads": "hash",
    "ready": "zset",
    "blocked": "zset",
    "oldest": "zset",
    "deep": "zset",
    "failures": "hash",
    "failed": "zset",
    "history": "hash",
    "counters": "hash",
    "wake": "list",
    "dead": "zset",
    "letters": "hash",
    "drops": "list",
    "due": "zset",
    "later": "hash",
    "cancelled": "zset",
    "identities": "zset",
    "firsts": "hash",
    "schedules": "hash",
    "skipping": "hash",
    "occurrences": "zset",
    "layout": "string",
    "old": "zset",
    "parked": "zset",
    "unparking": "zset",
    "leases": "zset",
    "held": "hash",
    "cordoned": "zset",
    "workers": "zset",
    "quarantine": "hash",
    "acts": "hash",
    "pauses": "hash",
    "resumes": "zset",
    "exhausted": "hash",
    "named": "hash",
}
"""Every key of a shard, and what it holds."""
OF_BINDS = {"leases", "held", "cordoned", "workers"}
OTHER_KINDS = {
    "string": ["SET", None, "garbage"],
    "list": ["RPUSH", None, "garbage"],
    "set": ["SADD", None, "garbage"],
    "hash": ["HSET", None, "garbage", "garbage"],
    "zset": ["ZADD", None, 1, "garbage"],
}
STAMP = b"1700000000000"
HEALTHY = [f"t{n}" for n in range(40)]
HUGE = "9" * 400


def key(name: str) -> str:
    return f"{LOCK if name in OF_BINDS else BASE}:{name}"


async def do(redis: Redis, command: Sequence[Any]) -> None:
    await redis.execute_command(*command)


async def drained(backend: RedisBackend) -> dict[str, list[str]]:
    """What is handed out and settled until nothing is left, by thread."""
    done: dict[str, list[str]] = {}
    while batches := await backend.bind("w/9", threads=64, wanted=1):
        for batch in batches:
            done.setdefault(batch.tube.thread, []).extend(handed(batch))
            next_one = await backend.settle(batch, wanted=1, release=True)
            while next_one.batch:
                done[batch.tube.thread] += handed(next_one.batch)
                next_one = await backend.settle(next_one.batch, wanted=1, release=True)
    return done
