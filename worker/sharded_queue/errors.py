"""
Everything this library raises on purpose. A class stands here only where a caller acts differently.

    ShardedQueueError
    ├── HandlerError         a handler class is declared wrongly (also TypeError)
    ├── HandlerNotFound      no handler of that name is known here (also LookupError)
    ├── LeaseLost            another worker may hold the thread now; nothing was written
    ├── QueueFull            the tube, the handler or Redis has no room; nothing was written
    ├── ReshardError         the number of threads cannot be changed yet; nothing was changed
    ├── RouteError           `route` answered with something that is not a route per request (also ValueError)
    ├── SerializationError   a request cannot be written, or a message cannot be read (also ValueError)
    ├── SettingsError        a setting is unknown, malformed or out of its bounds (also ValueError)
    └── StorageUnavailable   Redis did not answer in time, or answered with something that we cannot use
        └── UnreadableData   a key of a shard holds what is none of our data; nothing was written

`describe` says in one safe line what foreign code raised, `traceback_of` where.
"""

import traceback

from sharded_queue.printable import printable

DESCRIBED_CHARACTERS = 500
TRACEBACK_CHARACTERS = 4000


def describe(error: BaseException, limit: int = DESCRIBED_CHARACTERS) -> str:
    """
    `Type: message` in one line of at most *limit* characters, with everything spelled out that is not printable.

    Never raises: an error whose `__str__` fails is described by its type.
    """
    try:
        text = str(error)
    except BaseException:  # whatever a handler's error does in `__str__`, the caller must survive it
        text = "(its message cannot be read)"
    line = f"{type(error).__name__}: {text[:limit]}".replace("\n", " ")
    spelled = printable(line)
    return spelled if len(spelled) <= limit else spelled[: limit - 1] + "…"


def traceback_of(error: BaseException, limit: int = TRACEBACK_CHARACTERS) -> str:
    """
    Where *error* was raised, in lines that are safe to show: the last *limit* characters of a longer traceback.

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
    """A handler class is declared wrongly."""


class HandlerNotFound(ShardedQueueError, LookupError):
    """No handler of that name is known in this process."""


class LeaseLost(ShardedQueueError):
    """The fence of a write is no longer the thread's own; the write changed nothing."""


class QueueFull(ShardedQueueError):
    """There is no room for what was to be registered; nothing of it was written."""


class ReshardError(ShardedQueueError):
    """The threads of the layout before are not drained yet; the number of threads stays."""


class RouteError(ShardedQueueError, ValueError):
    """A handler routed its requests to something that cannot be a route."""


class SerializationError(ShardedQueueError, ValueError):
    """A request cannot be written as text, or text cannot be read as a request."""


class SettingsError(ShardedQueueError, ValueError):
    """A setting is unknown, malformed or out of its bounds."""


class StorageUnavailable(ShardedQueueError):
    """
    Redis did not answer in time, or gave an answer that cannot be used.

    *is_uncertain*: what was asked for may have been done, or may still be.
    """

    def __init__(self, message: str, *, is_uncertain: bool = False) -> None:
        super().__init__(message)
        self.is_uncertain = is_uncertain


class UnreadableData(StorageUnavailable):
    """A key that a whole shard needs holds what is none of our data; other shards are well."""
