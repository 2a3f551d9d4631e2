"""
What the operator raises on purpose.

    ShardedQueueError
    ├── BadSpec       a resource asks for something that cannot be (also ValueError)
    ├── NotOurs       a workload of the wanted name exists and belongs to somebody else
    │   └── Claimed   another resource scales the workload that this one names
    └── ApiRefused    the API server answered, and did not do it; `status` is the HTTP status
        └── ApiGone   the object is not there (also LookupError)
"""

from sharded_queue.errors import ShardedQueueError


class BadSpec(ShardedQueueError, ValueError):
    """A resource asks for something that cannot be; the sentence is meant for its author."""


class NotOurs(ShardedQueueError):
    """A workload of the wanted name exists and belongs to somebody else; it stays as it is."""

    reason = "NameTaken"


class Claimed(NotOurs):
    """Another resource scales the workload that this one names; two would never agree."""

    reason = "TargetTaken"


class ApiRefused(ShardedQueueError):
    """The API server answered, and did not do what was asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiGone(ApiRefused, LookupError):
    """The object is not there."""
