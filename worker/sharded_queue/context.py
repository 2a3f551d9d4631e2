"""What a handler can ask about the batch it is handling, and of its worker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from sharded_queue import logs
from sharded_queue.errors import ShardedQueueError
from sharded_queue.lease import Lease
from sharded_queue.printable import printable
from sharded_queue.serializer import unpack
from sharded_queue.tube import Tube

NOTE_CHARACTERS, MOST_PROGRESS = 200, 10**15


def unheard(done: int, of: int | None, note: str) -> None:
    """Drops a report: a batch outside of a worker has no place for it."""


def ignore_done(count: int) -> None:
    """Outside of a worker there is nothing to settle."""


class Context(NamedTuple):
    """
    The batch in hand. Each list has one item per request, in their order.

    `lease.fence` grows with every bind of the thread. Write it beside your own data and refuse smaller ones: then a
    worker that was overtaken can do no harm there either. *attempt* counts the tries of the first request, this one
    included. *sequences* are the requests' numbers in their tube. A dead letter that was put back at the head may have
    the number of a request handled earlier, and numbers fall where a person dropped requests: to recognise a request
    that was handled before, use an identity of your own.
    """

    lease: Lease
    tube: Tube
    attempt: int
    sequences: range
    messages: Sequence[bytes]
    """The requests as the storage keeps them."""
    report: Callable[[int, int | None, str], None] = unheard
    """Where reports of progress go."""
    note_done: Callable[[int], None] = ignore_done
    """Where the number goes that `done` is given."""

    def done(self, count: int) -> None:
        """
        Say that the first *count* requests of this call are handled, from 0 to all of them: they are settled even if
        the call fails, takes too long, snoozes or is cut off by the end of its worker. The error is then that of the
        first request behind them. The number only grows: a smaller one than before changes nothing.

        Cheap enough for a tight loop, and safe in OS threads. Each renewal of the lease takes the number along, three
        times per lease: a worker that is killed loses what it reported since the last one.

        Raises:
            ValueError: *count* is no whole number, or more than the call has requests.
        """
        most = len(self.messages)
        if type(count) is not int or not 0 <= count <= most:
            raise ValueError(f"done({count!r:.80}): a whole number from 0 to {most}, the requests of this call")
        self.note_done(count)

    def progress(self, done: int, of: int | None = None, note: str = "") -> None:
        """
        Say how far the work on this batch has come, in units of your own: `explain` and `threads` show it.

        Cheap enough for a tight loop, and safe in OS threads: only the last report goes to the storage, with the next
        renewal of the lease, five seconds later at most with the default lease. Progress goes forward only: as long as
        *done* is smaller than in an earlier report of this batch, that report stays. *note* is cut to 200 characters.

        Raises:
            ValueError: *done* or *of* is not a number from 0 to 10**15.
        """
        for name, number in (("done", done), ("of", of)):
            if number is not None and not (isinstance(number, int) and 0 <= number <= MOST_PROGRESS):
                raise ValueError(f"{name} is {number!r:.80}: a whole number from 0 to 10**15")
        self.report(done, of, printable(note, NOTE_CHARACTERS))

    @property
    def registered_ms(self) -> list[int]:
        """When each request was registered, by the storage's clock."""
        return [unpack(message).registered_ms for message in self.messages]

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """The headers that each request was registered with."""
        return [unpack(message).headers for message in self.messages]


T = TypeVar("T")
worker: ContextVar[str] = ContextVar("worker", default="")
"""The owner of leases that runs here; empty outside of a worker."""
lease: ContextVar[Lease | None] = ContextVar("lease", default=None)
"""The lease of the thread that is served here; None outside of a worker's lane."""
batch: ContextVar[Context | None] = ContextVar("batch", default=None)
_shared: ContextVar[Any] = ContextVar("shared", default=None)


def current() -> Context:
    """
    The context of the running `perform` or `handle`, also inside OS threads started by `asyncio.to_thread`.

    Raises:
        ShardedQueueError: no handler is running here.
    """
    if found := batch.get():
        return found
    raise ShardedQueueError("there is no batch here: call current() inside perform or handle")


def _about() -> logs.About:
    if not (served := lease.get()):
        return logs.About(worker.get())
    return logs.About(served.owner, served.shard.handler, served.thread)


def _tried() -> logs.Tried:
    if not (found := batch.get()):
        return logs.Tried()
    numbers = found.sequences
    return logs.Tried(found.tube.priority, numbers.start, len(numbers), found.attempt, found.lease.fence)


logs.about, logs.tried = _about, _tried


def shared(kind: type[T]) -> T:
    """
    What the lifespan of this worker yielded, a *kind*: for `create` and all other methods of a handler that a worker
    calls, and for middleware around a handler.

    Raises:
        ShardedQueueError: the worker has no lifespan, or its lifespan yielded something else.
    """
    value = _shared.get()
    if isinstance(value, kind):
        return value
    if value is None:
        raise ShardedQueueError(
            f"nothing is shared here, so no {kind.__qualname__}: give the Worker a lifespan that yields one "
            f"(in a module of `sharded-queue worker`, name it worker_lifespan), or a Sandbox the argument `shared`"
        )
    raise ShardedQueueError(f"the lifespan yielded a {type(value).__qualname__}, not a {kind.__qualname__}")


@contextmanager
def sharing(value: object) -> Iterator[None]:
    """Inside the block, and in all tasks and fibers that it starts, `shared` returns *value*."""
    token = _shared.set(value)
    try:
        yield
    finally:
        _shared.reset(token)
