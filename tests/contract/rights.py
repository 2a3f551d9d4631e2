"""What each user of `docs/users.acl` can do by hand to each key of the queues: tried, and told as a table."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

import sharded_queue.backends.redis

PRELUDE = Path(sharded_queue.backends.redis.__file__).parent / "lua" / "_prelude.lua"
BASE, LOCK = "tube_{tests.Handler}", "lock_{tests.Handler}"
TUBE = f"{BASE}/thread/0"

VALUES: dict[str, list[tuple[Any, ...]]] = {
    "HASH": [("HSET", "a", "1", "b", "2")],
    "ZSET": [("ZADD", "1", "a", "2", "b")],
    "LIST": [("RPUSH", "a", "b")],
    "STRING": [("SET", "1")],
}
READS = {
    "HASH": ("HGETALL",),
    "ZSET": ("ZRANGE", "0", "-1", "WITHSCORES"),
    "LIST": ("LRANGE", "0", "-1"),
    "STRING": ("GET",),
}
WRITES: list[tuple[Any, ...]] = [
    ("BLPOP", "0.01"),
    ("DEL",),
    ("EXPIRE", "1000"),
    ("GETDEL",),
    ("HDEL", "a"),
    ("HINCRBY", "a", "1"),
    ("HSET", "a", "3"),
    ("HSET", "new", "3"),
    ("HSETNX", "new", "3"),
    ("LPOP",),
    ("LPUSH", "new"),
    ("LREM", "0", "a"),
    ("LSET", "0", "new"),
    ("LTRIM", "1", "0"),
    ("PEXPIRE", "100000"),
    ("PEXPIREAT", "9999999999999"),
    ("RENAME", f"{BASE}:elsewhere"),
    ("RENAMENX", f"{BASE}:elsewhere"),
    ("RPOP",),
    ("RPUSH", "new"),
    ("SET", "x"),
    ("UNLINK",),
    ("ZADD", "9", "a"),
    ("ZADD", "9", "new"),
    ("ZREM", "a"),
    ("ZREMRANGEBYSCORE", "-inf", "inf"),
]
"""Commands whose key comes first, and what comes after it."""

STRENGTH = ("—", "adds", "removes")


def keys() -> dict[str, tuple[str, str]]:
    """The name of each key as the table has it, the key, and its type: as the header of the prelude lists them."""
    text = PRELUDE.read_text()
    header = "\n".join(line.removeprefix("--") for line in text.splitlines() if line.startswith("--"))
    kinds = dict(re.findall(r"(?<![\w:])([a-z]+)(?::[A-Z]+)? +(HASH|ZSET|LIST|STRING)\b", header))
    places = {name: place for place, name in re.findall(r"^local [A-Z]+ = (base|lock) \.\. ':(\w+)'", text, re.M)}
    assert set(places) <= set(kinds), f"say in the header of {PRELUDE.name} of which type each key is"
    found = {"requests of a thread": (TUBE, "LIST")}
    for word in ("caller", "news"):
        found[f"those of a thread `a:{word}`"] = (f"{BASE}/a:{word}/0", "LIST")
    for name, place in places.items():
        found[f"`{name}`"] = (f"{BASE if place == 'base' else LOCK}:{name}", kinds[name])
    found["`progress:THREAD`"] = (f"{LOCK}:progress:thread", "STRING")
    found["`NAME:caller`"] = (f"{BASE}:name:caller", "STRING")
    found["`OWNER:news`"] = (f"{BASE}:owner:news", "LIST")
    return found


async def _value(hands: Redis, key: str, kind: str) -> dict[Any, Any] | None:
    """What is in a key, as a dict; None when the key is gone, of another type, or will expire."""
    if (await hands.type(key)).decode() != ("string" if kind == "STRING" else kind.lower()) or await hands.pttl(
        key
    ) > 0:
        return None
    name, *rest = READS[kind]
    value = await hands.execute_command(name, key, *rest)
    if isinstance(value, dict):
        return value
    return dict.fromkeys(map(str, value)) if isinstance(value, list) else {"": value}


async def _effect(user: Redis, hands: Redis, key: str, kind: str, command: tuple[Any, ...]) -> str:
    await hands.delete(key, f"{BASE}:elsewhere")
    for name, *rest in VALUES[kind]:
        await hands.execute_command(name, key, *rest)
    before = await _value(hands, key, kind)
    try:
        await user.execute_command(command[0], key, *command[1:])
    except ResponseError:  # NOPERM is one too
        return "—"
    after = await _value(hands, key, kind)
    assert before is not None
    if after is None or any(after.get(each, ...) != value for each, value in before.items()):
        return "removes"
    return "adds" if after != before else "—"


async def strongest(user: Redis, hands: Redis, key: str, kind: str) -> str:
    """The strongest that a user can do to a key by one command."""
    effects = [await _effect(user, hands, key, kind, command) for command in WRITES]
    return max(effects, key=STRENGTH.index)


async def rows(users: dict[str, Redis], hands: Redis) -> AsyncIterator[str]:
    """The table as the manual has it."""
    yield f"| key | {' | '.join(f'`{user}`' for user in users)} |"
    yield "|---|" + "---|" * len(users)
    for name, (key, kind) in keys().items():
        cells = [await strongest(user, hands, key, kind) for user in users.values()]
        yield f"| {name} | {' | '.join(cells)} |"
