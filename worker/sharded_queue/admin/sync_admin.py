"""`Admin` for code without an event loop, by the way of `SyncQueue`."""

from collections.abc import AsyncIterator, Iterator

from sharded_queue.admin.acts import Act, Step, T
from sharded_queue.admin.admin import Admin
from sharded_queue.backends.redis.client import RedisOptions
from sharded_queue.sync import Blocking, blocking
from sharded_queue.tube import Keys


class SyncAdmin(Blocking[Admin]):
    """
    Looks into queues and acts on them, from code that is not async. Methods, answers and errors are those of `Admin`.

    *options*, *keys*, OS threads, forks and the end: as of a `SyncQueue`.

    Raises (by each method):
        ShardedQueueError: it is closed, or is called in an event loop, which it would block.
    """

    def __init__(self, options: RedisOptions | None = None, *, keys: Keys | None = None) -> None:
        super().__init__(Admin, options, keys)

    named = staticmethod(Admin.named)
    plan = blocking(Admin.plan)

    def steps(self, act: Act[T]) -> Iterator[Step[T]]:
        """Do it, and say after each step how far it is."""

        async def begin(admin: Admin) -> AsyncIterator[Step[T]]:
            return admin.steps(act)

        async def go_on(_: Admin) -> Step[T] | None:
            return await anext(steps, None)

        steps = self._run(begin)
        while step := self._run(go_on):
            yield step

    do = blocking(Admin.do)
    state = blocking(Admin.state)
    explain = blocking(Admin.explain)
    peek = blocking(Admin.peek)
    letters = blocking(Admin.letters)
    delayed = blocking(Admin.delayed)
    schedules = blocking(Admin.schedules)
    workers = blocking(Admin.workers)
    paused = blocking(Admin.paused)
