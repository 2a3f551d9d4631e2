"""
Everything the operator raises on purpose.

    ShardedQueueError
    ├── BadSpec       a resource's spec is invalid (also ValueError)
    ├── NotOurs       a workload of the wanted name exists and has another owner
    │   └── Claimed   another resource scales the workload that this one names
    └── ApiRefused    the API server did not do what was asked; `status` is the HTTP status, 0 without an answer
        └── ApiGone   the object does not exist (also LookupError)
"""

from sharded_queue.errors import ShardedQueueError


class BadSpec(ShardedQueueError, ValueError):
    """A resource's spec is invalid; the message is meant for its author."""


class NotOurs(ShardedQueueError):
    """A workload of the wanted name exists and has another owner; it stays as it is."""

    reason = "NameTaken"


class Claimed(NotOurs):
    """Another resource scales the workload that this one names; two resources would never agree."""

    reason = "TargetTaken"


class ApiRefused(ShardedQueueError):
    """
    The API server did not do what was asked. *status* is the HTTP status, 0 when there was no answer; *retry_seconds*:
    how long the server asks to wait, 0 where it does not ask.
    """

    def __init__(self, status: int, message: str, retry_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry_seconds = status, retry_seconds


class ApiGone(ApiRefused, LookupError):
    """The object does not exist."""
