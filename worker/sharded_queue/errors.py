"""
Everything this library raises on purpose. An error has a class of its own only if callers act differently on it.

    ShardedQueueError
    ├── HandlerError         a handler class has a mistake (also TypeError)
    ├── HandlerNotFound      this process has no handler of that name (also LookupError)
    ├── LeaseLost            another worker may hold the thread now; nothing was written
    ├── NotPossible          what a person asks for cannot be done; nothing was written (also ValueError)
    ├── QueueFull            the tube, the handler or Redis has no room; nothing was written
    ├── ReshardError         the number of threads cannot be changed yet; nothing was changed
    ├── RouteError           `route` did not return a usable route per request (also ValueError)
    ├── SerializationError   a request cannot be written, or a message cannot be read (also ValueError)
    ├── SettingsError        a setting is unknown, malformed or out of bounds (also ValueError)
    └── StorageUnavailable   Redis did not answer in time, or its answer cannot be used
        ├── OtherFormat      the data of a shard are of a format that this release does not read; nothing was written
        └── UnreadableData   a key of a shard holds data of another kind; nothing was written

`describe` says in one safe line what foreign code raised, and `traceback_of` says where.
"""

import traceback

from sharded_queue.printable import printable

DESCRIBED_CHARACTERS = 500
TRACEBACK_CHARACTERS = 4000


def describe(error: BaseException, limit: int = DESCRIBED_CHARACTERS) -> str:
    """
    `Type: message` in one line of at most *limit* characters, with unprintable characters escaped.

    Never raises: an error whose `__str__` fails is described by its type.
    """
    try:
        text = str(error)
    except BaseException:  # the caller must survive whatever a handler's error does in `__str__`
        text = "(its message cannot be read)"
    line = f"{type(error).__name__}: {text[:limit]}".replace("\n", " ")
    spelled = printable(line)
    return spelled if len(spelled) <= limit else spelled[: limit - 1] + "…"


def traceback_of(error: BaseException, limit: int = TRACEBACK_CHARACTERS) -> str:
    """
    Where *error* was raised, in lines that are safe to show. Of a long traceback, the last *limit* characters.

    Never raises.
    """
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # as in `describe`
        return ""
    safe = "\n".join(printable(line) for line in text[-limit:].rstrip().split("\n"))
    return safe if len(safe) <= limit and len(text) <= limit else "…" + safe[1 - limit :]


class ShardedQueueError(Exception):
    """Base of all errors of this library."""


class HandlerError(ShardedQueueError, TypeError):
    """A handler class has a mistake."""


class HandlerNotFound(ShardedQueueError, LookupError):
    """This process has no handler of that name."""


class LeaseLost(ShardedQueueError):
    """The fence of a write is no longer the thread's; the write changed nothing."""


class NotPossible(ShardedQueueError, ValueError):
    """What a person asks for cannot be done; the message says why."""


class QueueFull(ShardedQueueError):
    """There is no room for the requests; none of them was written."""


class ReshardError(ShardedQueueError):
    """The threads of the previous layout are not drained yet; the number of threads stays."""


class RouteError(ShardedQueueError, ValueError):
    """A handler returned something that is not a route."""


class SerializationError(ShardedQueueError, ValueError):
    """A request cannot be written as text, or a text cannot be read as a request."""


class SettingsError(ShardedQueueError, ValueError):
    """A setting is unknown, malformed or out of bounds."""


class StorageUnavailable(ShardedQueueError):
    """
    Redis did not answer in time, or its answer cannot be used.

    *is_uncertain*: what was asked for may have been done, or may still happen.
    """

    def __init__(self, message: str, *, is_uncertain: bool = False) -> None:
        super().__init__(message)
        self.is_uncertain = is_uncertain


class OtherFormat(StorageUnavailable):
    """The data of a shard are of a format that this release does not read. Other shards are not affected."""


class UnreadableData(StorageUnavailable):
    """A key that a whole shard needs holds data of another kind. Other shards are not affected."""
