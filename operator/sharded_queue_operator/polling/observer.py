"""Redis in, readings out: a poller for each Redis, shared by the resources that name it."""

import asyncio
from collections.abc import Awaitable, Callable

from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.coordinator import Coordinator
from sharded_queue.errors import ShardedQueueError
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.connection import ReadSecret, RedisTarget
from sharded_queue_operator.polling.guard import Budgets
from sharded_queue_operator.polling.poller import OnReading, Poller
from sharded_queue_operator.polling.reader import Subscription
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource

FindCoordinator = Callable[[Name], Awaitable[Coordinator]]


class NotObserved(ShardedQueueError):
    """The resource is gone, or its spec is refused."""


class Observer:
    """Keeps a poller for each Redis for as long as a resource names it."""

    def __init__(self, read_secret: ReadSecret, on_reading: OnReading, allowed: Allowed | None = None) -> None:
        self.pollers: dict[RedisTarget, Poller] = {}
        self.tasks: dict[RedisTarget, asyncio.Task[None]] = {}
        self._read_secret = read_secret
        self._on_reading = on_reading
        self._allowed = allowed
        self._targets: dict[Name, RedisTarget] = {}
        self._budgets = Budgets()

    def subscribe(self, resource: Resource) -> None:
        """Read *resource* from now on; a changed one at once."""
        target = RedisTarget.of(resource)
        if self._targets.get(resource.name, target) != target:
            self.forget(resource.name)
        self._targets[resource.name] = target
        self._poller(target).subscribe(resource.name, Subscription.of(resource))

    def forget(self, name: Name) -> None:
        target = self._targets.pop(name, None)
        if target is None:
            return
        self.pollers[target].unsubscribe(name)
        if not self.pollers[target].subscriptions:
            self._end(target)

    def hurry(self, name: Name) -> None:
        """Read *name* at once."""
        if name in self._targets:
            self.pollers[self._targets[name]].hurry([name])

    async def coordinator(self, name: Name) -> RedisCoordinator:
        """
        The coordinator of a resource's threads.

        Raises:
            NotObserved: the resource is gone, or its spec is refused.
            SecretInvalid: a Secret of its Redis is missing or unusable.
        """
        if name not in self._targets:
            raise NotObserved(f"{name} is not observed")
        poller = self.pollers[self._targets[name]]
        return await poller.connection.coordinator(poller.subscriptions[name].keys)

    def failed(self) -> list[BaseException]:
        """Errors that ended a poller; none should."""
        done = [task for task in self.tasks.values() if task.done() and not task.cancelled()]
        return [error for task in done if (error := task.exception())]

    async def close(self) -> None:
        self._targets.clear()  # resources may still be forgotten while the watches of the API server end
        await asyncio.gather(*map(self._end, list(self.tasks)), return_exceptions=True)

    def _poller(self, target: RedisTarget) -> Poller:
        if target not in self.pollers:
            self.pollers[target] = Poller(target, self._read_secret, self._on_reading, self._budgets, self._allowed)
            self.tasks[target] = asyncio.create_task(self.pollers[target].run(), name=f"poll {target.redis.addresses}")
        return self.pollers[target]

    def _end(self, target: RedisTarget) -> asyncio.Task[None]:
        """Stop a poller; returns its task, which is about to end."""
        del self.pollers[target]
        task = self.tasks.pop(target)
        task.cancel()
        return task
