"""Binds in Redis, each with a time to live and a fence, judged by the clock of Redis."""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from sharded_queue.backends.redis.client import Client, clone, close
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.scripts import Caller, Scripts, batch_of, rejection_message, text_of
from sharded_queue.coordinator import (
    NO_REPORTS,
    NOTHING_DONE,
    Arrival,
    BindRequest,
    Bound,
    Coordinator,
    Outlook,
    PartDone,
)
from sharded_queue.errors import SettingsError
from sharded_queue.lease import Lease
from sharded_queue.settings import settings
from sharded_queue.state import About, Report
from sharded_queue.storage import Storage
from sharded_queue.tube import Keys, Shard

log = logging.getLogger("sharded_queue")
CORDONED = -2
GRANT = 6
"""How many parts of the answer of `bind.lua` describe one thread."""
SHARDS_AT_ONCE = 500
"""Shards per command of a look: two milliseconds of Redis."""
LEASES_AT_ONCE = 128
"""Leases per command: each may have a hundred priorities."""
CALL_MS = 60_000
"""The lifetime of a token for one owner, because the owner may be gone."""
LEAVE_SECONDS = 1.0
"""A worker that ends waits no longer for Redis to take it off the lists of workers."""
LEAVE_CONNECTIONS = 4
"""Commands at a time that do so. Each may need a connection of its own, and a worker may have two hundred handlers."""
BLOCK_MARGIN_SECONDS = 5.0
"""The extra time that the answer to a blocking command may take."""
ARRIVAL = re.compile(rb"(\d+) (\d+) (\d+) (-?\d+) (-?\d+) (.*)", re.DOTALL)
"""What `arrive` of the scripts tells the holder of a drained thread."""


class Binder(Caller):
    """
    The numbered binds of one owner. *heard* is the last call that was answered, *fence* the last fence received. From
    the two Redis knows which threads it bound in calls whose answers were lost.
    """

    __slots__ = ("fence", "heard")

    def __init__(self) -> None:
        super().__init__()
        self.heard = self.fence = 0


class RedisCoordinator(Coordinator):
    """
    Binds threads of a `RedisStorage` on the same Redis.

    *redis* is the user's client, whose connections are borrowed and which the user closes.
    """

    def __init__(self, redis: Client) -> None:
        self.link = Link(redis)
        self.scripts = Scripts(self.link)
        self.keys = Keys()
        self._binders: defaultdict[tuple[Shard, str], Binder] = defaultdict(Binder)
        self._arrivals: dict[str, list[Arrival]] = {}
        """By owner, what came at the same time as what the last `wait` returned: on a Cluster, nodes answer at once."""
        self._is_owner = False

    def attach(self, storage: Storage) -> None:
        if storage.backend != "redis":
            raise SettingsError(f"RedisCoordinator binds threads of a RedisStorage, not of a {type(storage).__name__}")
        self.keys = storage.keys

    def clone(self) -> "RedisCoordinator":
        coordinator = RedisCoordinator(clone(self.link.redis))
        coordinator.keys, coordinator._is_owner = self.keys, True
        return coordinator

    async def close(self) -> None:
        if self._is_owner:
            await close(self.link.redis)

    async def bind(self, shard: Shard, request: BindRequest) -> Bound:
        owner, lease_seconds, ageing_seconds = request.owner, request.lease_seconds, request.ageing_seconds
        binder = self._binders[shard, owner]
        binder.call += 1
        keys = [*self.keys.of(shard), binder.key(self.keys.base(shard))]
        lease_ms, ageing_ms = int(lease_seconds * 1000), int(ageing_seconds * 1000)
        limits = [lease_ms, settings.crash_limit, ageing_ms, settings.worker_batch_bytes]
        arguments = [binder.call, binder.heard, binder.fence, owner, request.threads, request.wanted, *limits]
        arguments += [_encode_about(request.about), request.ahead, int(request.stops_exhausted)]
        # Not longer than one answer may take: the worker polls again, and can stop in between.
        seconds = min(lease_seconds, settings.redis_timeout)
        reply = await self.scripts.run("bind", keys, arguments, seconds=seconds)
        binder.heard = binder.call
        next_ms, others_wait, occurs_ms, *grants = reply
        batches = [
            batch_of(Lease(shard, grants[at].decode(), owner, int(grants[at + 1])), grants[at + 2 : at + GRANT])
            for at in range(0, len(grants), GRANT)
        ]
        if batches:
            binder.fence = batches[-1].lease.fence
        return Bound(
            batches,
            next_ms / 1000 if next_ms >= 0 else None,
            bool(others_wait),
            next_ms == CORDONED,
            occurs_ms / 1000 if occurs_ms >= 0 else None,
        )

    async def renew(
        self,
        leases: Sequence[Lease],
        lease_seconds: float,
        about: About | None = None,
        reports: Mapping[Lease, Report] = NO_REPORTS,
        done: Mapping[Lease, PartDone] = NOTHING_DONE,
    ) -> list[Lease]:
        owner = leases[0].owner if leases else ""
        first = [int(lease_seconds * 1000), owner, _encode_about(about)]
        replies = await self._run_each(
            "renew",
            leases,
            first,
            lease_seconds,
            lambda lease: (lease.thread, lease.fence, *_encode_reports(reports.get(lease), done.get(lease))),
        )
        gone = {(shard, text_of(thread)) for shard, reply in replies for thread in reply}
        return [lease for lease in leases if (lease.shard, lease.thread) in gone]

    async def release(self, leases: Sequence[Lease], delay_seconds: float = 0.0) -> None:
        first: list[object] = [int(delay_seconds * 1000)]
        await self._run_each(
            "release", leases, first, settings.coordinator_lease, lambda lease: (lease.thread, lease.fence)
        )

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        keys, seconds = self.keys.of(lease.shard), min(settings.coordinator_lease, settings.redis_timeout)
        return bool(
            await self.scripts.run("isolate", keys, [lease.thread, lease.fence, int(is_alone), call], seconds=seconds)
        )

    async def _run_each(
        self,
        name: str,
        leases: Sequence[Lease],
        first: list[object],
        seconds: float,
        describe: Callable[[Lease], Sequence[object]],
    ) -> list[tuple[Shard, Any]]:
        """
        The answers of a script for each shard of *leases*, side by side: no node of a Cluster delays another. The
        script is called with *first*, and what *describe* says of each lease, for a bounded number of leases at a time.
        """
        shards: dict[Shard, list[Lease]] = {}
        for lease in leases:
            shards.setdefault(lease.shard, []).append(lease)

        async def run(shard: Shard, held: Sequence[Lease]) -> list[tuple[Shard, Any]]:
            answers = []
            for at in range(0, len(held), LEASES_AT_ONCE):
                arguments = [*first, *chain.from_iterable(map(describe, held[at : at + LEASES_AT_ONCE]))]
                answers.append((shard, await self.scripts.run(name, self.keys.of(shard), arguments, seconds=seconds)))
            return answers

        answers = await asyncio.gather(*[run(*part) for part in shards.items()], return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [pair for pairs in answers if not isinstance(pairs, BaseException) for pair in pairs]

    async def leave(self, owner: str, told: Mapping[Shard, About]) -> None:
        waiting = iter(told.items())

        async def take_off() -> None:
            for shard, about in waiting:
                listed, worker = f"{self.keys.lock(shard)}:workers", f"{owner} {_encode_about(about)}"
                with suppress(RedisError, OSError):
                    await self.link.send(listed, "ZREM", listed, worker, seconds=LEAVE_SECONDS)

        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.gather(*[take_off() for _ in range(LEAVE_CONNECTIONS)])

    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        threads: list[str] = []
        cursor = b"0"
        while True:
            arguments = [cursor, LEASES_AT_ONCE, *names]
            cursor, freed = await self.scripts.run_once(
                "evict", self.keys.of(shard), arguments, seconds=settings.coordinator_lease
            )
            threads += map(text_of, freed)
            if cursor == b"0":
                return threads

    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        arguments = [int(seconds * 1000), *names]
        await self.scripts.run_once("cordon", self.keys.of(shard), arguments, seconds=settings.coordinator_lease)

    async def look(self, shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        """One command for all shards; on a Cluster one each, as the keys of a command must share a slot."""
        many = 1 if self.link.is_cluster else SHARDS_AT_ONCE
        parts = [shards[at : at + many] for at in range(0, len(shards), many)]
        looks = [asyncio.create_task(self._look(part, seconds)) for part in parts]
        answers = await asyncio.gather(*looks, return_exceptions=True)
        return {shard: each for answer in answers if isinstance(answer, dict) for shard, each in answer.items()}

    async def _look(self, shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        keys = [key for shard in shards for key in self._outlook_keys(shard)]
        async with asyncio.timeout(seconds):
            reply = await self.scripts.run("outlook", keys, [], seconds=seconds)
        pairs = zip(reply[::2], reply[1::2], strict=True)
        outlooks = [Outlook(waiting, next_ms / 1000 if next_ms >= 0 else None) for waiting, next_ms in pairs]
        return dict(zip(shards, outlooks, strict=True))

    def _outlook_keys(self, shard: Shard) -> list[str]:
        base, lock = self.keys.base(shard), self.keys.lock(shard)
        return [
            f"{lock}:leases",
            *(f"{base}:{name}" for name in ("blocked", "due", "ready", "unparking", "counters", "resumes")),
        ]

    async def wait(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | Arrival | None:
        try:
            if self.link.is_cluster:
                return self._kept_arrival(owner) or await self._wait_each(shards, owner, seconds)
            return await self._block(shards, owner, seconds)
        except NoPermissionError as error:  # polls may be allowed, so nothing else would report this
            log.warning("cannot wait for calls: %s", rejection_message(error))
            await asyncio.sleep(min(seconds, settings.coordinator_delay))
        except (RedisError, OSError, TimeoutError):  # the next poll will report it
            await asyncio.sleep(min(seconds, 0.1))
        return None

    async def notify(self, shard: Shard) -> None:
        wake, _ = self._wake_keys(shard, "")
        with suppress(RedisError, OSError, TimeoutError):  # workers poll anyway
            await self.link.send(wake, "RPUSH", wake, 1, seconds=settings.redis_timeout)

    async def cancel_wait(self, shards: Sequence[Shard], owner: str) -> bool:
        """
        Closing the connection would end the wait as well, but could lose a token that Redis has just sent.

        Outside a Cluster one command waits for all shards, so a token for any of them ends it.
        """
        ends = shards if self.link.is_cluster else shards[:1]
        await asyncio.gather(*[self._call_off(shard, owner) for shard in ends], return_exceptions=True)
        return True

    async def _call_off(self, shard: Shard, owner: str) -> None:
        """Send *owner* a token of its own."""
        _, own = self._wake_keys(shard, owner)
        commands = [("RPUSH", own, 1), ("PEXPIRE", own, CALL_MS)]
        await self.link.send_all(own, commands, seconds=settings.redis_timeout)

    def _wake_keys(self, shard: Shard, owner: str) -> tuple[str, str]:
        """The list whose tokens wake any worker, and the one that wakes only *owner*."""
        base = self.keys.base(shard)
        return f"{base}:wake", f"{base}:{owner}:news"

    async def _block(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | Arrival | None:
        """A token may get lost with its connection: it only says "poll", and workers poll anyway."""
        lists = {key: shard for shard in shards for key in self._wake_keys(shard, owner)}
        command = ("BLPOP", *lists, f"{seconds:.3f}")
        popped = await self.link.send(next(iter(lists)), *command, seconds=seconds + BLOCK_MARGIN_SECONDS)
        key = popped[0].decode() if popped else ""
        if key.endswith(":wake"):
            return lists[key]
        return read_arrival(lists[key], owner, popped[1]) if popped else None

    async def _wait_each(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | Arrival | None:
        """Block on every shard's own node at once; the first token ends all of them."""
        blocks = {asyncio.create_task(self._block([shard], owner, seconds)): shard for shard in shards}
        try:
            _, others = await asyncio.wait(blocks, return_when=asyncio.FIRST_COMPLETED)
            if others:
                await self.cancel_wait([blocks[other] for other in others], owner)
                await asyncio.wait(others, timeout=settings.redis_timeout)
        finally:
            for block in blocks:
                block.cancel()
            answers = await asyncio.gather(*blocks, return_exceptions=True)
        self._arrivals.setdefault(owner, []).extend(answer for answer in answers if isinstance(answer, Arrival))
        woken = [answer for answer in answers if isinstance(answer, Shard)]
        await asyncio.gather(*[self.notify(shard) for shard in woken[1:]])  # they are heard at the next wait
        return woken[0] if woken else self._kept_arrival(owner)

    def _kept_arrival(self, owner: str) -> Arrival | None:
        arrivals = self._arrivals.pop(owner, [])
        if len(arrivals) > 1:
            self._arrivals[owner] = arrivals[1:]
        return arrivals[0] if arrivals else None


def read_arrival(shard: Shard, owner: str, told: bytes) -> Arrival | None:
    """None: a token that only ends a wait, or what an earlier release wrote."""
    found = ARRIVAL.fullmatch(told)
    if not found:
        return None
    length, fence, call, priority, sequence, rest = found.groups()
    thread, message = text_of(rest[: int(length)]), rest[int(length) :]
    lease = Lease(shard, thread, owner, int(fence))
    batch = batch_of(lease, (priority, int(sequence), 1, [message])) if message else None
    return Arrival(lease, int(call), batch)


def _encode_about(about: About | None) -> str:
    return " ".join(str(part) for part in about or () if part is not None)


def _encode_reports(report: Report | None, done: PartDone | None) -> tuple[int | str, ...]:
    told = "" if report is None else f"{report.done} {'-' if report.of is None else report.of} {report.note}"
    if done is None:
        return (0 if report is None else report.first), told, "", ""
    return done.first, told, done.priority, done.through
