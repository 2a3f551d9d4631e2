"""
What one Redis says of the resources that share it: shards, or a doubt.

Every question gets a reading, whatever Redis does.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from redis.exceptions import NoPermissionError

from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.link import Link, as_redis_errors
from sharded_queue.errors import OtherFormat, UnreadableData
from sharded_queue.printable import printable
from sharded_queue.state import ShardState
from sharded_queue.tube import Keys, Shard
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES, CannotConnect, Connection
from sharded_queue_operator.polling.redaction import raw_text, redacted
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.rendering import RELEASE
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.scaling.observation import Doubt
from sharded_queue_operator.scaling.rest import is_same

log = logging.getLogger(__name__)

MOST_LISTED = 1_024
"""
Threads that a shard lists at most. Further threads are estimated from the shard's totals. The estimate rounds up, so
that demand is never understated.
"""

MOST_HOLDS = 10_000
"""Bound threads that a shard lists at most. The owners of further ones are unknown, so no worker counts as idle."""

MOST_LOGGED = 2_000
"""Characters of an error in the log."""

WORKERS_READ, MOST_RELEASES = 100, 5
"""Of a shard that cannot be read: workers that are asked for their release, and releases that a status names."""

SAFE_RELEASE = re.compile(r"\d[\w.+!-]{0,40}", re.ASCII)
"""A stranger's server may say anything."""


class Reading(NamedTuple):
    """
    What Redis said of one resource, or why it said nothing; *read_at* is when it was asked, *is_hurried* whether that
    was between two polls.
    """

    read_at: float
    shards: tuple[ShardState, ...] = ()
    doubt: Doubt | None = None
    is_hurried: bool = False

    def is_same(self, later: "Reading") -> bool:
        """Whether nothing happened between the two, except that time passed. In doubt, nobody knows."""
        return self.doubt is None and later.doubt is None and is_same(self.shards, later.shards)


class Subscription(NamedTuple):
    """What a resource wants to be read, and how often. *listed*: how many of its deepest threads."""

    keys: Keys
    shards: tuple[Shard, ...]
    listed: int
    period_seconds: float

    @classmethod
    def of(cls, resource: Resource) -> "Subscription":
        spec = resource.spec
        listed = min(resource.policy.lanes + 1, MOST_LISTED)
        return cls(spec.redis.keys, tuple(spec.shards), listed, spec.scaling.poll_period_seconds)


Subscriptions = Mapping[Name, Subscription]


class Reader:
    def __init__(self, connection: Connection) -> None:
        self.is_answering = asyncio.Event()
        """Set while Redis answers anything at all."""
        self._connection = connection
        self._logged: str | None = ""
        """The cause of the doubt that the log has already."""

    async def read(self, subscriptions: Subscriptions, read_at: float) -> dict[Name, Reading]:
        """A reading for each subscription. While Redis gives no answer, one probe stands for all of them."""
        try:
            client = await self._connection.open()
            if self.is_answering.is_set() or (failure := await self._probe(client)) is None:
                return await self._read_all(client, subscriptions, read_at)
            doubt = self._unreachable(failure)
        except CannotConnect as error:
            doubt = Doubt(error.reason, str(error))
        except REDIS_FAILURES as error:
            doubt = self._unreachable(error)
        except Exception as error:  # whatever one Redis does, the resources of all others go on
            log.exception("%s: a poll failed", self._connection.target.redis.addresses)
            doubt = self._unreachable(error)
        self.is_answering.clear()
        return dict.fromkeys(subscriptions, Reading(read_at, doubt=doubt))

    def note_answer(self) -> None:
        """Redis answers: let the listener go on, and log the next failure again."""
        self.is_answering.set()
        self._logged = ""

    async def _read_all(self, client: Client, subscriptions: Subscriptions, read_at: float) -> dict[Name, Reading]:
        groups = _by_keys(subscriptions)
        return _merged(await asyncio.gather(*(self._read_group(client, group, read_at) for group in groups)))

    async def _read_group(self, client: Client, group: Subscriptions, read_at: float) -> dict[Name, Reading]:
        """Read resources with the same keys in one round trip."""
        try:
            states = await self._states(client, group)
        except REDIS_FAILURES as error:
            return await self._read_after(error, client, group, read_at)
        return {name: Reading(read_at, tuple(states[shard] for shard in each.shards)) for name, each in group.items()}

    async def _read_after(
        self, error: Exception, client: Client, group: Subscriptions, read_at: float
    ) -> dict[Name, Reading]:
        """
        Read each of a group alone after *error*: one resource can spoil the answer for all, say by a key of the wrong
        type. If Redis answers nothing at all, or there is only one resource, the error stands.
        """
        is_shared, is_timeout = len(group) > 1, not str(error)
        silent = await self._probe(client) if is_shared or is_timeout else None
        if silent:
            return dict.fromkeys(group, Reading(read_at, doubt=self._unreachable(silent)))
        if not is_shared:
            return dict.fromkeys(group, Reading(read_at, doubt=await self._doubt(error, client, group)))
        return _merged([await self._read_group(client, {name: each}, read_at) for name, each in group.items()])

    async def _states(self, client: Client, group: Subscriptions) -> dict[Shard, ShardState]:
        keys = next(iter(group.values())).keys
        shards = list(dict.fromkeys(shard for each in group.values() for shard in each.shards))
        storage = self._connection.storage(client, keys)
        with as_redis_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                states = await storage.observe(shards, max(each.listed for each in group.values()), MOST_HOLDS)
        return {state.shard: state for state in states}

    async def _probe(self, client: Client) -> Exception | None:
        """
        Why Redis answers nothing at all; None when it answers. Sent once: a command that is retried ends in a time-out
        without a text.
        """
        try:
            await Link(client).send("ping", "PING", seconds=ANSWER_SECONDS)
        except NoPermissionError:  # an answer too; the next read says which permission is missing
            return None
        except REDIS_FAILURES as error:
            self.is_answering.clear()
            return error
        return None

    async def _doubt(self, error: Exception, client: Client, group: Subscriptions) -> Doubt:
        """Of one resource, whose Redis answers: what cannot be read may be of another release."""
        if isinstance(error, OtherFormat):
            return Doubt("ReleaseMismatch", self._cause(error))
        if not isinstance(error, UnreadableData):
            return self._unreachable(error)
        if releases := await self._other_releases(client, group):
            sentence = f"its workers are of release {', '.join(releases)}, and this operator of {RELEASE}"
            return Doubt("ReleaseMismatch", f"{self._cause(error)}; {sentence}")
        return Doubt("DataUnreadable", self._cause(error))

    async def _other_releases(self, client: Client, group: Subscriptions) -> list[str]:
        """Those of workers that told of themselves lately, without our own."""
        releases: set[str] = set()
        for each in group.values():
            storage = self._connection.storage(client, each.keys)
            with suppress(*REDIS_FAILURES), as_redis_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    for shard in each.shards:
                        releases |= {worker.version for worker in await storage.workers(shard, WORKERS_READ)}
        return sorted(filter(SAFE_RELEASE.fullmatch, releases - {RELEASE}))[:MOST_RELEASES]

    def _unreachable(self, error: Exception) -> Doubt:
        return Doubt("RedisUnreachable", f"no answer from {self._where}: {self._cause(error)}")

    def _cause(self, error: Exception) -> str:
        """What a status may say of *error*. If that is not all of it, the log has the rest."""
        cause = redacted(error)
        if cause != self._logged and cause != raw_text(error):  # logged once: it may stay the same for hours
            log.warning("%s cannot be read: %s", self._where, printable(raw_text(error))[:MOST_LOGGED])
        self._logged = cause
        return cause or f"nothing within {ANSWER_SECONDS:g} s"

    @property
    def _where(self) -> str:
        return ", ".join(self._connection.target.redis.addresses)


def _by_keys(subscriptions: Subscriptions) -> list[dict[Name, Subscription]]:
    """Subscriptions with the same keys together, as one storage reads them."""
    groups: dict[Keys, dict[Name, Subscription]] = {}
    for name, subscription in subscriptions.items():
        groups.setdefault(subscription.keys, {})[name] = subscription
    return list(groups.values())


def _merged(answers: list[dict[Name, Reading]]) -> dict[Name, Reading]:
    return {name: reading for answer in answers for name, reading in answer.items()}
