"""Requests that recur: run at once, given another timing, or removed."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, Plan, Step, T, given
from sharded_queue.admin.handlers import Named, meant
from sharded_queue.errors import NotPossible
from sharded_queue.printable import instant, printable
from sharded_queue.state import Upcoming
from sharded_queue.storage import Storage
from sharded_queue.timing import Timing
from sharded_queue.timing import read as read_timing


@dataclass(frozen=True, kw_only=True)
class OfSchedule(Act[T]):
    """What acts on a schedule have in common."""

    schedule: str = given("schedule")

    @property
    def what(self) -> str:
        return f"the schedule {self.schedule} of {self.handler.name}"

    async def find(self, context: ActionContext) -> Upcoming:
        """
        Raises:
            NotPossible: no schedule has this name.
        """
        found = await next_first(context.storage, self.handler)
        for each in found:
            if each.name == self.schedule:
                return each
        raise self._unknown(found)

    def _unknown(self, found: Sequence[Upcoming]) -> NotPossible:
        near = meant(self.schedule, [each.name for each in found])
        listed = near or f"; `sharded-queue schedules list {printable(self.handler.name)}` shows them"
        return NotPossible(f"{printable(self.handler.name)} has no schedule {printable(self.schedule, 200)!r}{listed}")


@dataclass(frozen=True, kw_only=True)
class RunSchedule(OfSchedule[answers.Run]):
    """Register the request of a schedule now. Its next occurrence stays as it is."""

    name = "schedules run"

    async def plan(self, context: ActionContext) -> Plan[answers.Run]:
        await self.find(context)
        effect = "Its request joins the tail of its tube now. The schedule occurs next when it would have anyway."
        return Plan(self, f"Run {self.what} now?", effect)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Run]]:
        for shard in self.handler.shards:
            if first := await context.storage.run_schedule(shard, self.schedule):
                yield Step(answers.Run(handler=self.handler.name, schedule=self.schedule, **first._asdict()))
                return
        raise self._unknown(await next_first(context.storage, self.handler))

    def sentences(self, step: Step[answers.Run]) -> list[str]:
        ran = step.answer
        where = f"request {ran.sequence} of {ran.thread}/{ran.priority}"
        return [f"{self.handler.name}: schedule {self.schedule} ran: {where}"]


@dataclass(frozen=True, kw_only=True)
class EditSchedule(OfSchedule[answers.Edited]):
    """
    Give a schedule another timing: an interval (--every) or a line of cron (--cron). A program that declares the
    schedule when it starts puts its own timing back: change it there as well.
    """

    name, right = "schedules edit", "admin"
    timing: Timing | None = given(
        "timing", default=None, read=read_timing, write=str, is_hidden=True, label="The new timing"
    )

    async def plan(self, context: ActionContext) -> Plan[answers.Edited]:
        known = (await self.find(context)).timing
        question = f"Change the timing of {self.schedule} of {self.handler.name}"
        if self.timing is None:
            how = "Give an interval, as in 'every 30 s', or a cron line, as in 'cron 0 9 * * 1-5 in Europe/Berlin'."
            return Plan(self, f"{question}?", how, known=known)
        effect = (
            f"It is {known} now. With the new one, it occurs next at "
            f"{instant(self.timing.after(int(time.time() * 1000)))}. A program that declares the schedule when it "
            "starts puts its own timing back: change it there as well."
        )
        return Plan(self, f"{question} to {self.timing}?", effect)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Edited]]:
        if self.timing is None:
            raise NotPossible("the new timing is not given")
        for shard in self.handler.shards:
            if next_ms := await context.storage.edit_schedule(shard, self.schedule, self.timing):
                name, at = self.handler.name, answers.at(next_ms)
                yield Step(answers.Edited(handler=name, schedule=self.schedule, timing=str(self.timing), next_at=at))
                return
        raise self._unknown(await next_first(context.storage, self.handler))

    def sentences(self, step: Step[answers.Edited]) -> list[str]:
        following = step.answer.next_at[:19] + "Z"
        return [f"{self.handler.name}: schedule {self.schedule} occurs {self.timing}, next at {following}"]


@dataclass(frozen=True, kw_only=True)
class RemoveSchedule(OfSchedule[answers.Removed]):
    """Remove a schedule. Occurrences that are registered already stay in their tube."""

    name, right = "schedules remove", "admin"

    async def plan(self, context: ActionContext) -> Plan[answers.Removed]:
        await self.find(context)
        effect = "It occurs no more. Occurrences that are registered already stay in their tube."
        return Plan(self, f"Remove {self.what}?", effect)

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Removed]]:
        if not any([await context.storage.unschedule(shard, self.schedule) for shard in self.handler.shards]):
            raise self._unknown(await next_first(context.storage, self.handler))
        yield Step(answers.Removed(handler=self.handler.name, removed=self.schedule))

    def sentences(self, step: Step[answers.Removed]) -> list[str]:
        return [f"{self.handler.name}: schedule {self.schedule} is removed"]


async def next_first(storage: Storage, handler: Named) -> list[Upcoming]:
    found = [schedule for shard in handler.shards for schedule in await storage.schedules(shard)]
    return sorted(found, key=lambda schedule: schedule.next_ms)
