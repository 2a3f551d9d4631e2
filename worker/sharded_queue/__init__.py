"""Work that must stay in order, spread over machines that come and go."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sharded_queue import logs as _logs  # noqa: F401 - first: it shields the logger that all others use
from sharded_queue.settings import settings

if TYPE_CHECKING:
    from sharded_queue.admin.admin import Admin
    from sharded_queue.admin.sync_admin import SyncAdmin
    from sharded_queue.backends.memory.coordinator import RuntimeCoordinator
    from sharded_queue.backends.memory.storage import RuntimeStorage
    from sharded_queue.backends.redis.client import RedisOptions, connect
    from sharded_queue.backends.redis.coordinator import RedisCoordinator
    from sharded_queue.backends.redis.storage import RedisStorage
    from sharded_queue.context import Context, current, shared
    from sharded_queue.coordinator import Coordinator
    from sharded_queue.errors import (
        HandlerError,
        HandlerNotFound,
        LeaseLost,
        NotPossible,
        QueueFull,
        ReshardError,
        RouteError,
        SerializationError,
        SettingsError,
        ShardedQueueError,
        StorageUnavailable,
    )
    from sharded_queue.handler import Handler, Retry
    from sharded_queue.lease import Lease
    from sharded_queue.outcomes import GiveUp, Snooze
    from sharded_queue.queue.middleware import Middleware
    from sharded_queue.queue.queue import Queue
    from sharded_queue.queue.receipts import Receipt
    from sharded_queue.route import KeyRoute, Route
    from sharded_queue.storage import Storage
    from sharded_queue.sync import SyncQueue
    from sharded_queue.tube import Tube
    from sharded_queue.worker.loop import Worker

__all__ = [
    "Admin",
    "Context",
    "Coordinator",
    "GiveUp",
    "Handler",
    "HandlerError",
    "HandlerNotFound",
    "KeyRoute",
    "Lease",
    "LeaseLost",
    "Middleware",
    "NotPossible",
    "Queue",
    "QueueFull",
    "Receipt",
    "RedisCoordinator",
    "RedisOptions",
    "RedisStorage",
    "ReshardError",
    "Retry",
    "Route",
    "RouteError",
    "RuntimeCoordinator",
    "RuntimeStorage",
    "SerializationError",
    "SettingsError",
    "ShardedQueueError",
    "Snooze",
    "Storage",
    "StorageUnavailable",
    "SyncAdmin",
    "SyncQueue",
    "Tube",
    "Worker",
    "connect",
    "current",
    "settings",
    "shared",
]

_MODULES = {
    "Admin": "admin.admin",
    "Context": "context",
    "Coordinator": "coordinator",
    "GiveUp": "outcomes",
    "Handler": "handler",
    "HandlerError": "errors",
    "HandlerNotFound": "errors",
    "KeyRoute": "route",
    "Lease": "lease",
    "LeaseLost": "errors",
    "Middleware": "queue.middleware",
    "NotPossible": "errors",
    "Queue": "queue.queue",
    "QueueFull": "errors",
    "Receipt": "queue.receipts",
    "RedisCoordinator": "backends.redis.coordinator",
    "RedisOptions": "backends.redis.client",
    "RedisStorage": "backends.redis.storage",
    "ReshardError": "errors",
    "Retry": "handler",
    "Route": "route",
    "RouteError": "errors",
    "RuntimeCoordinator": "backends.memory.coordinator",
    "RuntimeStorage": "backends.memory.storage",
    "SerializationError": "errors",
    "SettingsError": "errors",
    "ShardedQueueError": "errors",
    "Snooze": "outcomes",
    "Storage": "storage",
    "StorageUnavailable": "errors",
    "SyncAdmin": "admin.sync_admin",
    "SyncQueue": "sync",
    "Tube": "tube",
    "Worker": "worker.loop",
    "connect": "backends.redis.client",
    "current": "context",
    "shared": "context",
}
"""
The module that has a name, imported when the name is first asked for: a program that works in memory need not have
Redis installed, and a worker starts while its first request waits.
"""


def __getattr__(name: str) -> Any:
    if module := _MODULES.get(name):
        return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
