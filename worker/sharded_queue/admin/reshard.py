"""Spread the keys of a handler over more or fewer threads."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, BadField, Plan, Step, given
from sharded_queue.errors import NotPossible
from sharded_queue.printable import be, counted, printable
from sharded_queue.state import ShardState
from sharded_queue.tube import Layout, threads_fault


def read_threads(text: str) -> int:
    """
    Raises:
        ValueError: this is not a number of threads; `plan` says which are.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 7:
        raise ValueError(f"the number of threads is {text!r:.80}")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class Reshard(Act[answers.Layout]):
    """
    Spread the keys of a handler over THREADS threads, for all producers at once and without reordering: a thread of the
    new layout waits until the threads of the old layout that share keys with it are drained. Without THREADS, show the
    layout in force.
    """

    name, right = "reshard", "admin"
    threads: int | None = given("threads", default=None, read=read_threads, label="Over how many threads")

    async def plan(self, context: ActionContext) -> Plan[answers.Layout]:
        if self.threads is not None and (fault := threads_fault(self.threads, self.handler.spread)):
            raise BadField("threads", f"the number of threads is {fault}")
        now = await self._layout(context)
        effect = (
            f"They are spread over {counted(now.threads, 'thread')} now. A thread of the new layout waits "
            "until the threads of the old one that share keys with it are drained."
        )
        many = "another number of threads" if self.threads is None else counted(self.threads, "thread")
        return Plan(self, f"Spread the keys of {self.handler.name} over {many}?", effect)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Layout]]:
        before = await self._layout(context)
        if self.threads is not None:
            for shard in self.handler.shards:
                await context.storage.reshard(shard, self.threads)
        after = await context.storage.observe(self.handler.shards, 0)
        latest = self._latest(after)
        yield Step(
            answers.Layout(
                handler=self.handler.name,
                threads=latest.threads,
                layout=latest.number,
                undrained=sum(state.undrained for state in after),
                parked=sum(state.parked for state in after),
                changed=before.number != latest.number,
            )
        )

    async def _layout(self, context: ActionContext) -> Layout:
        return self._latest(await context.storage.observe(self.handler.shards, 0))

    def _latest(self, states: Sequence[ShardState]) -> Layout:
        """The layout in force, of shards that were all asked for the same one."""
        layouts = [state.layout for state in states if state.layout]
        if not layouts:
            raise NotPossible(
                f"no request of {printable(self.handler.name)} was ever registered by key: set `threads` in its class"
            )
        return max(layouts, key=lambda layout: layout.number)

    def sentences(self, step: Step[answers.Layout]) -> list[str]:
        now = step.answer
        words = f"the keys of {now.handler} are spread over {counted(now.threads, 'thread')}, by layout {now.layout}"
        if now.undrained:
            waits = "waits" if now.parked == 1 else "wait"
            undrained = f"{counted(now.undrained, 'thread')} of the previous layout {be(now.undrained)} not drained"
            words += f"; {undrained}, {now.parked} {waits} for them"
        return [words]
