"""
A parser that limits each answer of Redis before it takes memory.

The parser of redis-py allocates a list as long as an answer announces (`*1000000000` blocks the event loop for
seconds), and reads a message of any length. The console and the operator have this parser in its place. A process that
serves many Redis, as the operator does, also gives each of them a budget. A worker has the parser of redis-py: its
Redis decides what it handles anyway, and reading each header in Python would take a tenth of its time.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple

from redis._parsers.hiredis import _AsyncHiredisParser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError

LINE_BYTES = 64 << 10
"""The longest line: a number, a status or an error."""
BUDGETED_READ = 16 << 10
"""Bytes at a time under a budget: what is read is known to cost more only afterwards."""
ELEMENT_COST, LIST_COST, MESSAGE_COST = 40, 40, 1_024
"""
What each costs beside its bytes; a list is an element as well. None takes more memory than it costs: an empty list in a
list has four bytes and takes 64. Reading takes about the same time for each byte of cost.
"""
ERROR_ELEMENTS = 128
"""What an error counts as: of three bytes it takes 336, and a call in Python. No answer has many of them."""


class Bounds(NamedTuple):
    """
    What one message may be: the elements of all its lists together, its bytes, and the time from its first byte to its
    last. Without *seconds* of its own a message has as long as the command that it answers.
    """

    elements: int = 1 << 22
    bytes: int = 1 << 30
    seconds: float = math.inf


LIBRARY_BOUNDS = Bounds()


BULKS, LISTS, MAPS, ATTRIBUTES, ERRORS = b"$=!", b"*~>", b"%", b"|", b"-"
PLAIN = re.compile(rb"((?::-?\d{1,19}\r\n|_\r\n|\*0\r\n|\$-1\r\n)++)|\$(\d{1,9})\r\n|\*(\d{1,9})\r\n")
"""
Numbers, empty lists and nothings one after the other, or the header of a text or of a list: nearly all that an answer
consists of.
"""
TEXT, LIST = 2, 3


class Framing:
    """
    Finds where the messages of a stream begin and end, from their headers alone.

    A list of n elements adds n to the elements still to come; the message ends when none are.
    """

    def __init__(self, bounds: Bounds = LIBRARY_BOUNDS) -> None:
        self.cost = 0
        """Of all messages so far, as a `Budget` counts it."""
        self._bounds = bounds
        self._elements = 0
        self.begun_at: float | None = None
        """When the first byte of the current message arrived; None between messages."""
        self._rest = b""
        self._pending = 1
        self._skip = 0
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """
        Read the next *chunk* of the stream.

        Raises:
            DataError: a message is longer than a limit, or announces that it will be.
        """
        data, at = self._rest + chunk, 0
        self._bytes += len(chunk)
        self.cost += len(chunk)
        while at < len(data):
            if self.begun_at is None:
                self.begun_at = monotonic()
            step = self._skip_plain(data, at) or self._step(data, at)
            if not step:
                break
            at += step
            if self._pending == 0:
                self._pending, self._elements, self._bytes, self.begun_at = 1, 0, len(data) - at, None
                self.cost += MESSAGE_COST
        self._rest = data[at:]
        _check("a line", len(self._rest), LINE_BYTES, "bytes")
        _check("a message", self._bytes, self._bounds.bytes, "bytes")

    def _skip_plain(self, data: bytes, at: int) -> int:
        """The length of the whole numbers, texts and headers of lists that come next, by one look at each."""
        begin, pending, end, most = at, self._pending, len(data), self._bounds.bytes
        while pending and at < end and not self._skip and (found := PLAIN.match(data, at)):
            after, kind = found.end(), found.lastindex
            if kind == LIST:
                elements = int(found[LIST])
                self._count(elements)
                self.cost += LIST_COST
                at, pending = after, pending - 1 + elements
                continue
            if kind == TEXT:
                length = int(found[TEXT])
                count, lists, after = 1, 0, after + length + 2
                if length > most:
                    break
            else:
                count, lists = data.count(b"\n", at, after), data.count(b"*", at, after)
            if count > pending or after > end:
                break
            at, pending = after, pending - count
            self.cost += lists * LIST_COST
        self._pending = pending
        return at - begin

    def _step(self, data: bytes, at: int) -> int:
        """The length of the next header, with its body as far as it is there; 0 when the chunk ends inside a header."""
        if self._skip:
            step = min(self._skip, len(data) - at)
            self._skip -= step
            self._pending -= self._skip == 0
            return step
        end = data.find(b"\r\n", at)
        if end < 0:
            return 0
        kind, announced = data[at], data[at + 1 : end]
        if kind in BULKS and (length := _length(announced)) >= 0:
            _check("a text", length, self._bounds.bytes, "bytes")
            last = end + length + 4
            if last <= len(data):
                self._pending -= 1
                return last - at
            self._skip = last - len(data)
            return len(data) - at
        self._begin(kind, announced)
        return end + 2 - at

    def _begin(self, kind: int, announced: bytes) -> None:
        if kind in LISTS or kind in MAPS or kind in ATTRIBUTES:
            elements = max(_length(announced), 0) * (1 if kind in LISTS else 2) + (kind in ATTRIBUTES)
            self._count(elements)
            self.cost += LIST_COST
            self._pending += elements
        elif kind in ERRORS:
            self._count(ERROR_ELEMENTS)
        self._pending -= 1

    def _count(self, elements: int) -> None:
        self._elements += elements
        _check("a message", self._elements, self._bounds.elements, "elements")
        self.cost += elements * ELEMENT_COST


def _length(announced: bytes) -> int:
    """
    The length that a header announces.

    Raises:
        DataError: it is not a number.
    """
    if len(announced) > 20 or not announced.lstrip(b"-").isdigit():
        raise DataError("an announced length is not a number")
    return int(announced)


def _check(what: str, size: int, bound: int, unit: str) -> None:
    if size > bound:
        raise DataError(f"{what} of {size:,} {unit} is over the limit of {bound:,}")


class Bucket:
    """What may be read in a while: *burst* at once, and *rate* in each second. *clock* tells seconds."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    @property
    def left(self) -> float:
        """Below zero: more was read than may be."""
        now = self._clock()
        self._left, self._at = min(self._burst, self._left + (now - self._at) * self._rate), now
        return self._left

    @property
    def wait_seconds(self) -> float:
        """Until something is left."""
        return max(0.0, -self.left / self._rate)

    def take(self, cost: float) -> None:
        self._left = self.left - cost


class Budget:
    """
    What one Redis may be read of: what is its *own*, and beyond it what it *shares* with others, of the bucket that has
    most left. So those that use up what is shared leave each of the others its own. *gate*: where all of them wait.
    """

    def __init__(self, own: Bucket, shared: Callable[[], Iterable[Bucket]], gate: "Gate") -> None:
        self._own, self._shared, self.gate = own, shared, gate

    @property
    def own_left(self) -> float:
        return self._own.left

    @property
    def wait_seconds(self) -> float:
        """Until something may be read."""
        return min(bucket.wait_seconds for bucket in (self._own, *self._shared()))

    def take(self, cost: int) -> None:
        """Note what was read."""
        of_own = min(cost, max(0.0, self._own.left))
        self._own.take(of_own)
        rest = cost - of_own
        if rest:
            max((self._own, *self._shared()), key=lambda bucket: bucket.left).take(rest)


class Gate:
    """
    Lets one budget at a time read, first the one that has most left of its own. In between, all else that is due in the
    event loop has its turn, so that any number of Redis hold it up no longer than one of them.
    """

    def __init__(self) -> None:
        self._is_open = True
        self._waiting: dict[asyncio.Future[None], Budget] = {}

    @asynccontextmanager
    async def turn(self, budget: Budget) -> AsyncIterator[None]:
        if not self._is_open:
            await self._wait(budget)
        self._is_open = False
        try:
            yield
        finally:
            self._end_turn()

    async def _wait(self, budget: Budget) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = budget
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._end_turn()
            raise
        finally:
            del self._waiting[turn]

    def _end_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        waiting = [turn for turn in self._waiting if not turn.done()]
        self._is_open = not waiting
        if waiting:
            max(waiting, key=lambda turn: self._waiting[turn].own_left).set_result(None)


class BoundedParser(_AsyncHiredisParser):
    """The parser of redis-py with `Framing` in front of it."""

    bounds = LIBRARY_BOUNDS
    budget: Budget | None = None

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._framing = Framing(self.bounds)

    async def read_from_socket(self) -> bool:
        began = self._framing.begun_at
        if began is not None and monotonic() - began > self.bounds.seconds:
            raise DataError(f"a message was incomplete after {self.bounds.seconds:g} s")
        assert self._stream
        assert self._reader
        buffer = await self._stream.read(BUDGETED_READ if self.budget else self._read_size)
        if not buffer:
            raise RedisConnectionError("the connection was closed by the server")
        if self.budget:
            await self._feed_within(self.budget, buffer)
        else:
            self._framing.feed(buffer)
        self._reader.feed(buffer)
        return True

    async def _feed_within(self, budget: Budget, buffer: bytes) -> None:
        """Read *buffer* when something is left of *budget*: whose turn was before may have used up what is shared."""
        while True:
            await asyncio.sleep(budget.wait_seconds)
            async with budget.gate.turn(budget):
                if not budget.wait_seconds:
                    self._feed(budget, buffer)
                    return

    def _feed(self, budget: Budget, buffer: bytes) -> None:
        before = self._framing.cost
        try:
            self._framing.feed(buffer)
        finally:
            budget.take(self._framing.cost - before)


def bind_parser(client: Redis | RedisCluster, parser: type[BoundedParser] = BoundedParser) -> None:
    """Make every connection of *client* use *parser*. Call it before the client connects."""
    for arguments in _connection_arguments(client):
        arguments["parser_class"] = parser


def _connection_arguments(client: Redis | RedisCluster) -> list[dict[str, object]]:
    if isinstance(client, RedisCluster):
        nodes = client.nodes_manager
        startup = [node.connection_kwargs for node in nodes.startup_nodes.values()]
        return [client.connection_kwargs, nodes.connection_kwargs, *startup]
    return _of_pool(client)


def _of_pool(client: Redis) -> list[dict[str, object]]:
    pool = client.connection_pool
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else []
    return [pool.connection_kwargs, *(found for each in sentinels for found in _of_pool(each))]
