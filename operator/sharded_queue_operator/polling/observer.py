"""
Redis in, readings out: one poller for each Redis, one pipeline a poll for all resources that share it.

A reading always comes, also when Redis does not answer: then it carries a doubt in place of the shards. Nothing here
decides anything.
"""

import asyncio

from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.connection import Missing, Place, ReadSecret
from sharded_queue_operator.polling.poller import Poller, Tell, Watch
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource


class Observer:
    """A poller for each Redis that a resource names, for as long as one does."""

    def __init__(self, read_secret: ReadSecret, tell: Tell, allowed: Allowed | None = None) -> None:
        self.read_secret = read_secret
        self.allowed = allowed
        self.tell = tell
        self.places: dict[Name, Place] = {}
        self.pollers: dict[Place, Poller] = {}
        self.tasks: dict[Place, asyncio.Task[None]] = {}

    def watch(self, resource: Resource) -> None:
        place = Place.of(resource)
        if self.places.get(resource.name, place) != place:
            self.forget(resource.name)
        self.places[resource.name] = place
        self.poller(place).watch(resource.name, Watch.of(resource))

    def poller(self, place: Place) -> Poller:
        if place not in self.pollers:
            self.pollers[place] = Poller(place, self.read_secret, self.tell, self.allowed)
            self.tasks[place] = asyncio.create_task(self.pollers[place].run(), name=f"poll {place.redis.addresses}")
        return self.pollers[place]

    def forget(self, name: Name) -> None:
        place = self.places.pop(name, None)
        if place is None:
            return
        self.pollers[place].leave(name)
        if not self.pollers[place].watches:
            self.end(place)

    def end(self, place: Place) -> asyncio.Task[None]:
        """The task of its poller, which is about to end."""
        del self.pollers[place]
        task = self.tasks.pop(place)
        task.cancel()
        return task

    async def coordinator(self, name: Name) -> RedisCoordinator:
        """
        Who binds the threads of a resource.

        Raises:
            Missing: the resource is not watched.
            BadSecret: a secret of its Redis does not serve.
        """
        if name not in self.places:
            raise Missing(f"{name} is not watched")
        poller = self.pollers[self.places[name]]
        return await poller.connection.coordinator(poller.watches[name].keys)

    def hurry(self, name: Name) -> None:
        """Read anew at once."""
        if name in self.places:
            self.pollers[self.places[name]].hurry([name])

    def failed(self) -> list[BaseException]:
        """What ended a poller, which nothing should."""
        done = [task for task in self.tasks.values() if task.done() and not task.cancelled()]
        return [error for task in done if (error := task.exception())]

    async def close(self) -> None:
        self.places.clear()  # news of resources may still come, while the watches end
        await asyncio.gather(*map(self.end, list(self.tasks)), return_exceptions=True)
