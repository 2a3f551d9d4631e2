"""What people do to queues and ask of them, for programs."""

from collections.abc import AsyncIterator

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, Plan, Step, T, carry_out
from sharded_queue.admin.delayed import next_first as next_delayed
from sharded_queue.admin.handler_state import HandlerState
from sharded_queue.admin.handlers import Named, must_have
from sharded_queue.admin.pause import list_paused
from sharded_queue.admin.peek import peek
from sharded_queue.admin.schedules import next_first as next_schedules
from sharded_queue.admin.search import Search, newest
from sharded_queue.admin.workers import known, merged, worker_json
from sharded_queue.handler import Handler
from sharded_queue.storage import Storage


class Admin:
    """
    Looks into queues and acts on them, as the commands and the console do: an act is a value, such as
    `ReplayLetters(handler=admin.named(Send), is_all=True)`, and has one definition for all three. Answers are those of
    the commands with `--json`. A handler is a class, or the name of one that has a single shard.

    Of an act of several steps that is cut, the error says how much is done, and asking again does the rest.

    Raises (by each method):
        NotPossible: what is asked for cannot be done, and nothing was.
        StorageUnavailable: Redis did not answer.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @staticmethod
    def named(handler: type[Handler] | str) -> Named:
        """The handler as an act has it."""
        return Named(handler, 1) if isinstance(handler, str) else Named(handler.name, handler.shards, is_declared=True)

    async def plan(self, act: Act[T]) -> Plan[T]:
        """What an act would do; nothing is written. The act of the plan is bound to what there is now."""
        return await act.plan(ActionContext(self.storage))

    async def steps(self, act: Act[T]) -> AsyncIterator[Step[T]]:
        """Do it, and say after each step how far it is."""
        plan = await self.plan(act)
        async for step in carry_out(plan.act, ActionContext(self.storage)):
            yield step

    async def do(self, act: Act[T]) -> T:
        """Do it."""
        steps = [step async for step in self.steps(act)]
        return steps[-1].answer

    async def state(self, handler: type[Handler] | str, worst: int = 10) -> HandlerState:
        """How much waits, for how long, and where: at most *worst* tubes and threads of each shard."""
        named = self.named(handler)
        return HandlerState(named, await self.storage.observe(named.shards, worst))

    async def explain(self, handler: type[Handler] | str, thread: str) -> answers.Thread:
        """The state of a thread, and why."""
        named = self.named(handler)
        return answers.thread(named.name, await must_have(self.storage, named, thread))

    async def peek(
        self,
        handler: type[Handler] | str,
        thread: str,
        priority: int | None = None,
        *,
        count: int = 10,
        after: int | None = None,
    ) -> list[answers.Peeked]:
        """The next requests of a thread or of its tube of a priority, or those of a tube after a number."""
        pages = peek(self.storage, self.named(handler), thread, priority, count=count, after=after)
        return [each async for page in pages for each in page]

    async def letters(
        self, handler: type[Handler] | str, *, count: int = 100, text: str = "", error: str = "", thread: str = ""
    ) -> list[answers.Letter]:
        """Those of the newest *count* dead letters that a search finds."""
        named, search = self.named(handler), Search(text, error, thread)
        found = await newest(self.storage, named, count)
        return [answers.letter(each.dead, each.shard) for each in found if search.finds(named.name, each.dead)]

    async def delayed(self, handler: type[Handler] | str, *, count: int = 100) -> list[answers.Delayed]:
        """Requests that are not due yet, the next first."""
        return [answers.delayed(each) for each in await next_delayed(self.storage, self.named(handler), count)]

    async def schedules(self, handler: type[Handler] | str) -> list[answers.Schedule]:
        """What recurs, the next first."""
        return [answers.schedule(each) for each in await next_schedules(self.storage, self.named(handler))]

    async def workers(self, handler: type[Handler] | str) -> list[answers.Worker]:
        """The workers of a handler, and what they hold."""
        states = await self.storage.observe(self.named(handler).shards, 0)
        return [worker_json(each) for each in merged([await known(self.storage, state) for state in states])]

    async def paused(self, handler: type[Handler] | str) -> list[answers.Paused]:
        """Whether the handler is paused, and which of its threads are."""
        return await list_paused(self.storage, self.named(handler).shards)
