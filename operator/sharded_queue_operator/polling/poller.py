"""
When one Redis is read: all resources that are due share a poll.

Reading belongs to `reader`, hearing of first requests to `listener`.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from time import monotonic

from sharded_queue_operator import metrics
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.connection import Connection, ReadSecret, RedisTarget, is_cancelled
from sharded_queue_operator.polling.guard import Budgets
from sharded_queue_operator.polling.listener import Listener
from sharded_queue_operator.polling.reader import Reader, Reading, Subscription, Subscriptions
from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS, Timetable
from sharded_queue_operator.resource.name import Name

GATHER_SECONDS = 0.05
"""Polls of one Redis begin at least this far apart, so that resources hurried in between are read together."""

PART_SHARDS = 500
"""
Shards that one round trip reads, or those of one resource. What a namespace may be read of is shared: 10,000 shards
at once would need more than that within the time of an answer, and none of them would be known.
"""

OnReading = Callable[[Name, Reading], None]


class Poller:
    """Reads one Redis for its subscribers: each in its own period, and at once when a queue gets its first request."""

    def __init__(
        self,
        target: RedisTarget,
        read_secret: ReadSecret,
        on_reading: OnReading,
        budgets: Budgets,
        allowed: Allowed | None = None,
    ) -> None:
        self.subscriptions: dict[Name, Subscription] = {}
        budget = budgets.make(lambda: {name.namespace for name in self.subscriptions})
        self.connection = Connection(target, read_secret, allowed or Allowed(), budget)
        self._on_reading = on_reading
        self._reader = Reader(self.connection)
        self._listener = Listener(self.connection, self._reader.is_answering, self.subscriptions, self.hurry)
        self._timetable = Timetable(monotonic() - random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311 - no secret
        self._is_hurried = asyncio.Event()

    def subscribe(self, name: Name, subscription: Subscription) -> None:
        if self.subscriptions.get(name) != subscription:
            self.subscriptions[name] = subscription
            self.hurry([name])

    def unsubscribe(self, name: Name) -> None:
        self.subscriptions.pop(name, None)
        self._timetable.forget(name)

    def hurry(self, names: Iterable[Name]) -> None:
        """Read *names* at once."""
        for name in names:
            self._timetable.hurry(name)
            self._is_hurried.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll_for_ever())
                tasks.create_task(self._listener.run())
        finally:
            await self.connection.dispose()

    async def _poll_for_ever(self) -> None:
        while not is_cancelled():
            await self._wait_until(self._timetable.next_due)
            begun = monotonic()
            if due := self._timetable.take_due(begun):
                hurried = {name for name in due if not self._timetable.is_due(name, begun)}
                await self._poll_in_parts({name: self.subscriptions[name] for name in due}, hurried)
            await asyncio.sleep(begun + GATHER_SECONDS - monotonic())

    async def _wait_until(self, due: float) -> None:
        """Until *due*, or until a resource is hurried."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + due - monotonic()):
                await self._is_hurried.wait()
        self._is_hurried.clear()

    async def _poll_in_parts(self, due: Subscriptions, hurried: Set[Name]) -> None:
        part = _first_part(due)
        while part:
            await self._poll(part, hurried)
            due = {name: each for name, each in due.items() if name not in part}
            # While Redis gives no answer, one look stands for all that is left.
            part = _first_part(due) if self._reader.is_answering.is_set() else due

    async def _poll(self, due: Subscriptions, hurried: Set[Name]) -> None:
        read_at = monotonic()
        answers = await self._reader.read(due, read_at)
        readings = {name: reading._replace(is_hurried=name in hurried) for name, reading in answers.items()}
        self._plan(due, readings)
        if any(reading.doubt for reading in readings.values()):
            await self.connection.refresh_secrets()
        else:  # a Redis that gives no answer is unknown, not slow
            metrics.poll_seconds.observe(monotonic() - read_at)
        self._report(due, readings)

    def _plan(self, due: Subscriptions, readings: Mapping[Name, Reading]) -> None:
        """Note when to read each again; at once for all in doubt when Redis answers again."""
        now = monotonic()
        for name in readings.keys() & self.subscriptions.keys():
            is_known = readings[name].doubt is None
            self._timetable.record(name, due[name].period_seconds, now, is_known=is_known)
        if not self._reader.is_answering.is_set() and any(reading.doubt is None for reading in readings.values()):
            self._reader.note_answer()
            self.hurry(self._timetable.in_doubt)

    def _report(self, due: Subscriptions, readings: Mapping[Name, Reading]) -> None:
        unknown = sum(reading.doubt is not None for reading in readings.values())
        metrics.polls.labels("unknown").inc(unknown)
        metrics.polls.labels("known").inc(len(readings) - unknown)
        for name, reading in readings.items():
            if self.subscriptions.get(name) is due[name]:  # else the reading answers a question that has changed
                self._on_reading(name, reading)


def _first_part(due: Subscriptions) -> Subscriptions:
    part: dict[Name, Subscription] = {}
    count = 0
    for name, each in due.items():
        count += len(each.shards)
        if part and count > PART_SHARDS:
            break
        part[name] = each
    return part
