"""Take waiting requests out of a thread: those that are named, or all. They become dead letters."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from sharded_queue.admin import answers
from sharded_queue.admin.acts import ActionContext, Plan, Step, given
from sharded_queue.admin.handlers import must_have
from sharded_queue.admin.numbers import must_select
from sharded_queue.admin.reasons import WithReason
from sharded_queue.errors import NotPossible
from sharded_queue.printable import be, counted
from sharded_queue.settings import settings
from sharded_queue.storage import TOO_DEEP, Dropped, Waiting, digest_of
from sharded_queue.tube import Tube

REQUEST = re.compile(r"(?:(-?\d{1,16}):)?(-?\d{1,16})(?::([0-9a-f]{40}))?", re.ASCII)
MOST_NAMED = 1000
"""Of one atomic step of a storage."""
IN_HAND = "a worker has it in hand"
GONE = "it was handled meanwhile, or has another number"
DUPLICATES = (
    "a request that was registered with deduplication keeps others out until its window ends, also when dropped"
)


class RequestNumber(NamedTuple):
    """Written `NUMBER`, `PRIORITY:NUMBER`, or `PRIORITY:NUMBER:DIGEST` for this very request and no later one."""

    number: int
    priority: int | None = None
    digest: str = ""

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.priority, self.number, self.digest) if part not in (None, ""))


def read_request(text: str) -> RequestNumber:
    """
    Raises:
        ValueError: this is not the number of a request.
    """
    found = REQUEST.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r:.80} is not NUMBER, PRIORITY:NUMBER or PRIORITY:NUMBER:DIGEST")
    priority, number, digest = found.groups()
    return RequestNumber(int(number), None if priority is None else int(priority), digest or "")


@dataclass(frozen=True, kw_only=True)
class DropRequests(WithReason[answers.Dropped]):
    """
    Drop waiting requests of a thread, by the NUMBERS that `peek` shows, or all of it. They go to the dead letters, and
    `dead replay` puts them back. The others keep their order. Exit 1 if one of them stays. The NUMBERS are those of one
    tube: of --priority, or else of QUEUE_DEFAULT_PRIORITY, 0.
    """

    name, right, noun, is_asked = "drop", "admin", "request", True
    thread: str = given("thread")
    numbers: tuple[RequestNumber, ...] = given("numbers", default=(), read=read_request, write=str, is_list=True)
    is_all: bool = given("all", "All requests of the thread that no worker has in hand.", default=False, is_flag=True)
    priority: int | None = given(
        "priority", "The tube of the NUMBERS.", default=None, read=int, write=str, is_option=True
    )

    @property
    def what(self) -> str:
        return f"thread {self.thread} of {self.handler.name}"

    async def plan(self, context: ActionContext) -> Plan[answers.Dropped]:
        must_select(self.noun, self.numbers, self.is_all)
        if len(self.numbers) > MOST_NAMED:
            raise NotPossible(f"{len(self.numbers):,} requests are named: at most {MOST_NAMED:,} at once, or all")
        state = await must_have(context.storage, self.handler, self.thread)
        effect = "What a worker has in hand stays. The others become dead letters, from which they can be replayed."
        if self.is_all:
            total = sum(tube.depth for tube in state.tubes) - state.in_hand
            question = f"Drop {self.what}, with {counted(total, self.noun)}?"
            return Plan(self, question, effect, total)
        planned = replace(self, numbers=tuple([await self._as_it_is(context, each) for each in self.numbers]))
        total = sum(bool(each.digest) for each in planned.numbers)
        return Plan(planned, f"Drop {counted(total, self.noun)} of {self.what}?", effect, total)

    async def _as_it_is(self, context: ActionContext, each: RequestNumber) -> RequestNumber:
        """The request that has this number now; without a digest where there is none."""
        if each.digest:
            return each
        priority = self._priority_of(each)
        tube = Tube(self.handler.shard_of(self.thread), self.thread, priority)
        for found, message in await context.storage.peek(tube, 1, after=each.number - 1):
            if found == each.number:
                return RequestNumber(found, priority, digest_of(message))
        return each._replace(priority=priority)

    def _priority_of(self, each: RequestNumber) -> int:
        if each.priority is not None:
            return each.priority
        return settings.default_priority if self.priority is None else self.priority

    async def steps(self, context: ActionContext) -> AsyncIterator[Step[answers.Dropped]]:
        shard, cause = self.handler.shard_of(self.thread), self.cause
        named = [await self._as_it_is(context, each) for each in self.numbers]
        there = [Waiting(self._priority_of(each), each.number, each.digest) for each in named if each.digest]
        dropped = await context.storage.drop(shard, self.thread, cause, None if self.is_all else there)
        absent = "no request of priority {} has this number"
        left = {str(each.number): absent.format(each.priority) for each in named if not each.digest}
        left |= reasons(dropped)
        answer = answers.Dropped(
            handler=self.handler.name, thread=self.thread, letters=dropped.letters, in_hand=dropped.in_hand, left=left
        )
        is_partial = self.is_all and (dropped.in_hand > 0 or not dropped.letters)
        notes = [DUPLICATES] if dropped.letters and await context.storage.has_identities(shard) else []
        yield Step(answer, len(dropped.letters) + len(left), dropped.letters, left, notes, is_partial=is_partial)

    def sentences(self, step: Step[answers.Dropped]) -> list[str]:
        letters, hand = step.answer.letters, step.answer.in_hand
        many = len(letters)
        said = [f"{counted(many, self.noun)} of {self.what} {be(many)} dropped"]
        if letters:
            said[0] += f": dead letters {letters[0]} to {letters[-1]}"
        elif not step.left:
            said = [f"nothing to drop: no {self.noun} of {self.what} waits"]
        if self.is_all and hand:
            was, them = ("was", "it") if hand == 1 else ("were", "them")
            said.append(f"{counted(hand, self.noun)} {was} not dropped: a worker is handling {them}")
        return [*said, *step.notes]


def reasons(dropped: Dropped) -> dict[str, str]:
    """Why named requests are not dropped."""
    found = [(dropped.held, IN_HAND), (dropped.missing, GONE), (dropped.deep, TOO_DEEP)]
    return {str(each.sequence): why for requests, why in found for each in requests}
