"""Reads one Redis for all resources that share it: one pipeline a poll."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import NamedTuple

from redis.exceptions import NoPermissionError

from sharded_queue.backends.redis.client import Client, introduce, understood
from sharded_queue.printable import printable
from sharded_queue.state import ShardState
from sharded_queue.tube import Keys, Shard
from sharded_queue_operator import metrics
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, TROUBLE, Connection, Place, ReadSecret, Unasked
from sharded_queue_operator.polling.redaction import cause, spoken
from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS, Timetable
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.scaling.observation import Doubt

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
"""Polls of one Redis begin at least this far apart: what is called in between is read together."""

LISTEN_SECONDS = 1.0
CALLS_AT_ONCE = 100
"""Calls of one Redis that are heard before all others have a turn, `GATHER_SECONDS` long. More wait in its buffer."""
RETRY_SECONDS = 1.0
"""Before a subscription that failed is asked for again; twice as long each time, up to `LONGEST_PAUSE_SECONDS`."""

MOST_LISTED = 1_024
"""
Threads that a shard lists at most. Beyond so many lanes that are full, the others are counted from the sums, as full as
the sums allow: never too few.
"""

MOST_HOLDS = 10_000
"""Bound threads that a shard lists at most. The owners of further ones are unknown: no worker counts as idle."""

MOST_LOGGED = 2_000
"""Characters of an error."""


class Reading(NamedTuple):
    """What Redis said of one resource, or why it said nothing; *read_at* is when it was asked."""

    read_at: float
    shards: tuple[ShardState, ...] = ()
    doubt: Doubt | None = None


class Watch(NamedTuple):
    """What a resource wants to know."""

    keys: Keys
    shards: tuple[Shard, ...]
    listed: int
    period_seconds: float

    @classmethod
    def of(cls, resource: Resource) -> "Watch":
        spec = resource.spec
        listed = min(resource.policy.lanes + 1, MOST_LISTED)
        return cls(spec.redis.keys, tuple(spec.shards), listed, spec.scaling.poll_period_seconds)


Tell = Callable[[Name, Reading], None]


class Poller:
    """
    Reads one Redis for all that watch it: each in its own period, and at once where an empty queue got its first
    request.
    """

    def __init__(self, place: Place, read_secret: ReadSecret, tell: Tell, allowed: Allowed | None = None) -> None:
        self.place = place
        self.connection = Connection(place, read_secret, allowed or Allowed())
        self.tell = tell
        self.watches: dict[Name, Watch] = {}
        self.timetable = Timetable(monotonic())
        self.call = asyncio.Event()
        self.told: str | None = ""
        """The cause of a doubt that the log has already."""
        self.answers = asyncio.Event()
        """Set while this Redis is not silent."""

    def watch(self, name: Name, watch: Watch) -> None:
        if self.watches.get(name) != watch:
            self.watches[name] = watch
            self.hurry([name])

    def leave(self, name: Name) -> None:
        self.watches.pop(name, None)
        self.timetable.forget(name)

    def hurry(self, names: Iterable[Name]) -> None:
        for name in names:
            self.timetable.call(name)
            self.call.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.poll_for_ever())
                tasks.create_task(self.listen_for_ever())
        finally:
            await self.connection.close()
            if self.connection.folder:
                self.connection.folder.cleanup()

    async def poll_for_ever(self) -> None:
        while not is_cancelled():
            await self.called_until(self.timetable.next_due)
            begun = monotonic()
            if due := self.timetable.due(begun):
                await self.poll({name: self.watches[name] for name in due})
            await asyncio.sleep(begun + GATHER_SECONDS - monotonic())

    async def called_until(self, due: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + due - monotonic()):
                await self.call.wait()
        self.call.clear()

    async def poll(self, watches: Mapping[Name, Watch]) -> None:
        """Tell each of *watches* a reading, whatever happens; but no answer to a question that was changed since."""
        read_at = monotonic()
        readings = await self.readings(watches, read_at)
        self.schedule(watches, readings)
        if any(reading.doubt for reading in readings.values()):
            await self.connection.doubted()
        else:  # a Redis that does not answer is unknown, not slow
            metrics.poll_seconds.observe(monotonic() - read_at)
        for name, reading in readings.items():
            metrics.polls.labels("unknown" if reading.doubt else "known").inc()
            if self.watches.get(name) is watches[name]:  # else it was asked another question meanwhile
                self.tell(name, reading)

    def schedule(self, watches: Mapping[Name, Watch], readings: Mapping[Name, Reading]) -> None:
        """Say when to read each again; those in doubt at once when their Redis answers after it was silent."""
        now = monotonic()
        for name in readings.keys() & self.watches.keys():
            period, is_known = watches[name].period_seconds, readings[name].doubt is None
            self.timetable.read(name, period, now, is_known=is_known)
        if not self.answers.is_set() and any(reading.doubt is None for reading in readings.values()):
            self.answers.set()
            self.told = ""
            self.hurry(list(self.timetable.doubts))

    async def readings(self, watches: Mapping[Name, Watch], read_at: float) -> dict[Name, Reading]:
        """What Redis says of each. While it is silent it is asked once whether it answers at all, and no more."""
        try:
            client = await self.connection.open()
            if not self.answers.is_set() and (silence := await self.silence(client)):
                return dict.fromkeys(watches, self.unread(read_at, silence))
            answers = await asyncio.gather(*(self.read(client, group, read_at) for group in grouped(watches)))
            return {name: reading for answer in answers for name, reading in answer.items()}
        except Unasked as error:
            reading = Reading(read_at, doubt=Doubt(error.reason, str(error)))
        except TROUBLE as error:
            reading = self.unread(read_at, error)
        except Exception as error:  # whatever comes of one Redis, the resources of all others go on
            log.exception("%s: a poll failed", self.place.redis.addresses)
            reading = self.unread(read_at, error)
        self.answers.clear()
        return dict.fromkeys(watches, reading)

    async def read(self, client: Client, watches: Mapping[Name, Watch], read_at: float) -> dict[Name, Reading]:
        """
        The readings of resources with the same keys, in one round trip.

        One of them can spoil the answer for all, say by a key of another kind in its place; as long as Redis answers
        at all, each is then read alone.
        """
        try:
            states = await self.states(client, watches)
            return {name: Reading(read_at, tuple(states[s] for s in watch.shards)) for name, watch in watches.items()}
        except TROUBLE as error:
            silence = await self.silence(client) if len(watches) > 1 or not str(error) else None
            if len(watches) == 1 or silence:
                return dict.fromkeys(watches, self.unread(read_at, silence or error))
        alone = [await self.read(client, {name: watch}, read_at) for name, watch in watches.items()]
        return {name: reading for answer in alone for name, reading in answer.items()}

    async def states(self, client: Client, watches: Mapping[Name, Watch]) -> dict[Shard, ShardState]:
        keys = next(iter(watches.values())).keys
        shards = list(dict.fromkeys(shard for watch in watches.values() for shard in watch.shards))
        storage = self.connection.storage(client, keys)
        with understood():
            async with asyncio.timeout(ANSWER_SECONDS):
                states = await storage.observe(shards, max(watch.listed for watch in watches.values()), MOST_HOLDS)
        return {state.shard: state for state in states}

    async def silence(self, client: Client) -> Exception | None:
        """Why Redis answers nothing at all; None when it does. One try: what is tried again ends in a bare time-out."""
        try:
            with understood():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await introduce(client, ANSWER_SECONDS)
                    await client.ping()
        except NoPermissionError:  # which is an answer too: what is read next says what is missing
            return None
        except TROUBLE as error:
            self.answers.clear()
            return error
        return None

    def unread(self, read_at: float, error: Exception) -> Reading:
        where, known = ", ".join(self.place.redis.addresses), cause(error)
        if known != self.told and known != spoken(error):  # once, as it may be the same for hours
            log.warning("no answer from %s: %s", where, printable(spoken(error))[:MOST_LOGGED])
        self.told = known
        message = f"no answer from {where}: {known or f'nothing within {ANSWER_SECONDS:g} s'}"
        return Reading(read_at, doubt=Doubt("RedisUnreachable", message))

    async def listen_for_ever(self) -> None:
        """Hear of first requests. Without a subscription nothing is lost but a part of a period."""
        pause = RETRY_SECONDS
        while not is_cancelled():
            await self.answers.wait()
            begun = monotonic()
            await self.listen_once()
            is_lasting = monotonic() > begun + LONGEST_PAUSE_SECONDS
            pause = RETRY_SECONDS if is_lasting else min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def listen_once(self) -> None:
        try:
            client = await self.connection.open()
            with understood():
                await self.listen(client)
        except TROUBLE as error:
            log.debug("%s: not subscribed: %s", self.place.redis.addresses, error)
        except Exception:
            log.exception("%s: the subscription failed", self.place.redis.addresses)

    async def listen(self, client: Client) -> None:
        await introduce(client, ANSWER_SECONDS)
        async with client.pubsub() as channel:
            heard: set[str] = set()
            for turn in count(1):
                if client is not self.connection.client or is_cancelled():
                    return
                if turn % CALLS_AT_ONCE == 0:
                    await asyncio.sleep(GATHER_SECONDS)
                wanted = {watch.keys.awake for watch in self.watches.values()}
                if wanted - heard:
                    await channel.subscribe(*(wanted - heard))
                    heard = wanted
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
                if message:
                    self.hurry(self.named(message["channel"], message["data"]))

    def named(self, channel: bytes | str, data: bytes | str) -> list[Name]:
        """The resources whose shard was called on a channel."""
        tag, channel = text(data), text(channel)
        return [
            name
            for name, watch in self.watches.items()
            if watch.keys.awake == channel and any(shard.tag == tag for shard in watch.shards)
        ]


def is_cancelled() -> bool:
    """
    Whether this task was told to end: redis-py sends in `wait_for`, which on Python 3.11 swallows that when it comes as
    the command is sent, and tells only what else went wrong.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def grouped(watches: Mapping[Name, Watch]) -> list[dict[Name, Watch]]:
    """Those with the same keys together: one storage reads them."""
    groups: dict[Keys, dict[Name, Watch]] = {}
    for name, watch in watches.items():
        groups.setdefault(watch.keys, {})[name] = watch
    return list(groups.values())


def text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
