"""
What sharded-queue 0.2.10 left in a Redis, and how it gets into our tubes.

The predecessor keeps one list per tube, `tube_MODULE/NAME/THREAD/PRIORITY`, which it calls a *pipe*: JSON arrays of the
fields of requests. Delayed and recurrent requests wait in two pipes of its own handlers. While a worker holds a thread,
there is a key `lock_` and the name of its pipe. A crash leaves that key behind for a day.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

from sharded_queue.backends.redis.storage import SCAN_COUNT, RedisStorage
from sharded_queue.errors import SerializationError, SettingsError, ShardedQueueError, StorageUnavailable
from sharded_queue.handler import Handler
from sharded_queue.queue.queue import CALL_BYTES, Queue
from sharded_queue.settings import settings

DEFERRED, RECURRENT = "sharded_queue/DeferredHandler/0/0", "sharded_queue/RecurrentHandler/0/0"
PIPE = re.compile(r"(?P<module>[^{/][^/]*)/(?P<name>[^/]+)/(?P<thread>-?[0-9]+)/(?P<priority>-?[0-9]+)")
PATTERN = "[^{]*/*/*/*"
"""Matches pipes only: our own keys have a hash tag after the prefix."""

BATCH = 500
"""Requests moved in one step."""

WINDOW_SECONDS = 7 * 86_400.0
"""How long Redis remembers what was registered from which pipe. Until then an interrupted move can be resumed."""

FIELDS = 3
"""Fields of a delayed or recurrent message."""

LOOKS = 10
"""How many parts of the keys to scan for a mere hint, each of `SCAN_COUNT` keys."""


class Pipe(NamedTuple):
    """A list of the predecessor. *is_locked*: one of its workers holds it, or crashed within the last day."""

    name: str
    requests: int
    is_locked: bool

    @property
    def is_own(self) -> bool:
        """Whether its requests belong to the predecessor's own handlers."""
        return self.name in (DEFERRED, RECURRENT)


@dataclass(slots=True)
class Moved:
    """What became of a pipe: how many requests are ours now, and why others were left behind."""

    pipe: str
    count: int = 0
    left: list[str] = field(default_factory=list)


async def hint(storage: RedisStorage, handlers: Sequence[type[Handler]] = (), looks: int = LOOKS) -> str | None:
    """
    A sentence if the predecessor left requests in this Redis. Costs at most 1 + *looks* short commands, so it may miss
    pipes. None if the user of Redis may not scan.
    """
    try:
        name = await _some_pipe(storage, handlers, looks)
    except StorageUnavailable:
        return None
    if name is None:
        return None
    return (
        f"sharded-queue 0.2 has left requests in this Redis, in {storage.keys.tubes}{name} for example: no worker "
        "serves them, and the workers of 0.2 fail on our keys. Stop its producers and workers, then move its requests "
        "with `sharded-queue migrate`"
    )


async def _some_pipe(storage: RedisStorage, handlers: Sequence[type[Handler]], looks: int) -> str | None:
    prefix = storage.keys.tubes
    if storage.link.is_cluster:  # the predecessor cannot use a Cluster
        return None
    for name in (DEFERRED, RECURRENT, *[f"{_pipe_prefix(handler)}/0/0" for handler in handlers]):
        if await storage.scripts.ask(prefix, "EXISTS", f"{prefix}{name}", seconds=settings.redis_timeout):
            return name
    cursor: bytes = b"0"
    for _ in range(looks):
        command = ("SCAN", cursor, "MATCH", f"{prefix}{PATTERN}", "COUNT", SCAN_COUNT, "TYPE", "list")
        cursor, keys = await storage.scripts.ask(prefix, *command, seconds=settings.redis_timeout)
        for name in _pipes_among(key.decode(errors="replace").removeprefix(prefix) for key in keys):
            return name
        if cursor == b"0":
            return None
    return None


def _pipes_among(names: Iterable[str]) -> list[str]:
    return [name for name in names if PIPE.fullmatch(name)]


def _pipe_prefix(handler: type[Handler]) -> str:
    return f"{handler.__module__}/{handler.__name__}"


class Migration:
    """
    Moves requests of the predecessor to *handlers*, in the order of each pipe.

    A request is dropped from its pipe only after its registration was acknowledged. The next move resumes one that was
    interrupted, and within a week nothing is registered twice.
    """

    def __init__(self, storage: RedisStorage, handlers: Sequence[type[Handler]]) -> None:
        self.storage, self.queue = storage, Queue(storage)
        self._handlers: Mapping[str, type[Handler]] = {_pipe_prefix(handler): handler for handler in handlers}
        self._by_class = {handler.__name__: handler for handler in handlers}
        self._progress = f"{storage.keys.tubes}migrated"

    async def pipes(self) -> list[Pipe]:
        """
        All pipes of the predecessor that hold requests, found by a scan of all keys. Delayed and recurrent requests
        come last: they join the tails of the others.

        Raises:
            SettingsError: this is a Cluster, which the predecessor cannot use.
        """
        if self.storage.link.is_cluster:
            raise SettingsError("sharded-queue 0.2 does not support a Cluster: there is nothing to migrate")
        prefix = self.storage.keys.tubes
        found = await self.storage.look_through(prefix, PATTERN, "list")
        names = _pipes_among(key.removeprefix(prefix) for key in found)
        return sorted([await self._pipe(name) for name in names], key=lambda pipe: (pipe.is_own, pipe.name))

    async def _pipe(self, name: str) -> Pipe:
        return Pipe(
            name,
            int(await self._ask("LLEN", self._key(name))),
            bool(await self._ask("EXISTS", f"{self.storage.keys.binds}{name}")),
        )

    def handler_of(self, pipe: str) -> type[Handler] | None:
        """
        The handler for the requests of a pipe. If its module was run as a program, only the class name is compared.
        """
        match = PIPE.fullmatch(pipe)
        if match is None:
            return None
        if match["module"] == "__main__":
            return self._by_class.get(match["name"])
        return self._handlers.get(f"{match['module']}/{match['name']}")

    async def move(self, pipe: Pipe) -> Moved:
        """Move the requests of a pipe. Those that cannot be moved stay, with a reason."""
        moved = Moved(pipe.name)
        try:
            await {DEFERRED: self._move_deferred, RECURRENT: self._move_recurrent}.get(pipe.name, self._move)(moved)
        except ShardedQueueError as error:
            moved.left.append(str(error))
        return moved

    async def _move(self, moved: Moved) -> None:
        handler = self.handler_of(moved.pipe)
        if handler is None:
            moved.left.append("no --module defines its handler")
            return
        keys = [self._key(moved.pipe), self._progress]
        while True:
            offset, read = await self._run("read_pipe", keys, [moved.pipe, BATCH])
            if not read:
                return
            messages = _first_in(read, CALL_BYTES // 2)
            requests, flaw = _requests(handler, messages)
            if requests:
                named = [_identity(moved.pipe, offset + index, message) for index, message in enumerate(messages)]
                await self._register(handler, requests, named[: len(requests)])
                last = messages[len(requests) - 1]
                if not await self._run("drop_from_pipe", keys, [moved.pipe, offset, len(requests), messages[0], last]):
                    moved.left.append("another process changes this pipe: stop the workers of sharded-queue 0.2")
                    return
                moved.count += len(requests)
            if flaw:
                moved.left.append(f"{flaw}; it is now the first request, and all others wait behind it")
                return

    async def _register(
        self, handler: type[Handler], requests: Sequence[Any], identities: Sequence[str], delay_seconds: float = 0.0
    ) -> None:
        await self.queue.register(
            handler,
            *requests,
            delay_seconds=delay_seconds,
            deduplicate_seconds=WINDOW_SECONDS,
            identities=identities,
        )

    async def _move_deferred(self, moved: Moved) -> None:
        """In the order of their times. The predecessor keeps no other order among them."""
        listed = [pair for pair in await self._listed(moved) if isinstance(pair[1][0], int)]
        for message, (timestamp, pipe, values) in sorted(listed, key=lambda pair: pair[1][0]):
            handler = self.handler_of(pipe)
            if handler is None:
                moved.left.append(f"no --module defines the handler of {pipe}")
                continue
            try:
                request = _request(handler, values)
            except SerializationError as error:
                moved.left.append(str(error))
                continue
            delay = max(0.0, timestamp - time.time())
            await self._register(handler, [request], [_identity(DEFERRED, 0, message)], delay)
            await self._drop(moved, message)

    async def _move_recurrent(self, moved: Moved) -> None:
        """Each becomes a schedule. Its name derives from its contents, so a second move gives the same schedule."""
        for message, (interval, pipe, values) in await self._listed(moved):
            handler = self.handler_of(pipe)
            if handler is None:
                moved.left.append(f"no --module defines the handler of {pipe}")
            elif not isinstance(interval, int) or interval < 1:
                moved.left.append(
                    f"{interval!r:.80} of {pipe} is not an interval: schedule it again with `schedule(cron=…)`"
                )
            else:
                name = "migrated-" + blake2b(msgspec.json.encode((pipe, values)), digest_size=8).hexdigest()
                try:
                    await self.queue.schedule(handler, _request(handler, values), name=name, every_seconds=interval)
                    await self._drop(moved, message)
                except SerializationError as error:
                    moved.left.append(str(error))

    async def _listed(self, moved: Moved) -> list[tuple[bytes, list[Any]]]:
        """The messages of one of the predecessor's own handlers: a time or an interval, a pipe, and fields."""
        listed = []
        for message in await self._ask("LRANGE", self._key(moved.pipe), 0, -1):
            values = _values(message)
            if values is None or len(values) != FIELDS or not _is_moment(values[0]) or not isinstance(values[1], str):
                moved.left.append(f"{message!r:.80} is not a message of sharded-queue 0.2")
            else:
                listed.append((message, values))
        return listed

    async def _drop(self, moved: Moved, message: bytes) -> None:
        await self._ask("LREM", self._key(moved.pipe), 1, message)
        moved.count += 1

    async def _ask(self, command: str, key: str, *arguments: Any) -> Any:
        return await self.storage.scripts.ask(key, command, key, *arguments, seconds=settings.redis_timeout)

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self.storage.scripts.run(script, keys, lambda _: arguments, seconds=settings.redis_retry)

    def _key(self, pipe: str) -> str:
        return f"{self.storage.keys.tubes}{pipe}"


def _is_moment(value: object) -> bool:
    """A time, an interval in seconds, or a rule of recurrence."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def _identity(pipe: str, position: int, message: bytes) -> str:
    """What identifies a request while it is moved: its position and its contents."""
    return f"{pipe}#{position}#{blake2b(message, digest_size=16).hexdigest()}"


def _requests(handler: type[Handler], messages: Sequence[bytes]) -> tuple[list[Any], SerializationError | None]:
    """The requests of *messages* up to the first that cannot be read, and what is wrong with that one."""
    requests: list[Any] = []
    for message in messages:
        try:
            requests.append(_request(handler, _values(message)))
        except SerializationError as error:
            return requests, error
    return requests, None


def _values(message: bytes) -> list[Any] | None:
    try:
        values = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return values if isinstance(values, list) else None


def _request(handler: type[Handler], values: Any) -> Any:
    """
    A request made of its fields, as a worker will read it.

    Raises:
        SerializationError: the fields do not make a request.
    """
    serializer = handler.serializer()
    kind = serializer.request_type
    try:
        made = (
            kind(**dict(zip(kind.model_fields, values, strict=True)))
            if hasattr(kind, "model_fields")
            else kind(*values)
        )
    except Exception as error:  # a request's own code runs here, and may raise anything
        raise SerializationError(f"{values!r:.80} do not fit the fields of a {kind.__name__}: {error}") from error
    return serializer.decode_one(*serializer.encode_all((made,)))


def _first_in(messages: Sequence[bytes], room: int) -> Sequence[bytes]:
    """As many as one call of `register` takes, at least one: encoded by us, they may be longer."""
    through = [total <= room for total in accumulate(map(len, messages))]
    return messages[: max(1, sum(through))]
