"""What waits in a thread: the requests of one tube, or of all, in the order in which a worker gets them."""

from collections.abc import AsyncIterator, Sequence

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, must_have
from sharded_queue.errors import NotPossible
from sharded_queue.handler import ageing_of, known
from sharded_queue.settings import settings
from sharded_queue.state import TubeState
from sharded_queue.storage import Storage
from sharded_queue.tube import Tube

PAGE = 1000
"""Requests of one step."""


async def peek(
    storage: Storage,
    handler: Named,
    thread: str,
    priority: int | None = None,
    *,
    count: int | None = None,
    after: int | None = None,
) -> AsyncIterator[list[answers.Peeked]]:
    """
    The first *count* requests, or all, by pages. Those *after* a number are of one tube: of *priority*, or else of the
    default one.

    Raises:
        NotPossible: there is no such thread now, or it has no requests of that priority.
    """
    if priority is None and after is not None:
        priority = settings.default_priority
    shard, is_empty = handler.shard_of(thread), True
    state = await storage.explain(shard, thread) if priority is None else None
    for each in in_turn(handler, state.tubes) if state else [priority or 0]:
        tube, last = Tube(shard, thread, each), after
        while count != 0 and (page := await storage.peek(tube, min(count or PAGE, PAGE), last)):
            is_empty = False
            yield [answers.peeked(each, *request) for request in page]
            last, count = page[-1][0], count and count - len(page)
    if is_empty:
        await _must_wait(storage, handler, thread, priority, after)


def in_turn(handler: Named, tubes: Sequence[TubeState]) -> list[int]:
    """The priorities of a thread, the next one first. Ageing counts where the class of the handler is imported."""
    cls = known().get(handler.name)
    ageing = ageing_of(cls) if cls else 0.0
    turns = {tube.priority: tube.priority - (tube.lag_seconds // ageing if ageing else 0) for tube in tubes}
    return sorted(turns, key=lambda priority: (turns[priority], priority))


async def _must_wait(storage: Storage, handler: Named, thread: str, priority: int | None, after: int | None) -> None:
    tube = Tube(handler.shard_of(thread), thread, priority or 0)
    if after is not None and await storage.peek(tube, 1):
        return
    state = await must_have(storage, handler, thread)
    if others := ", ".join(str(each.priority) for each in state.tubes):
        raise NotPossible(f"nothing waits in {tube}: the thread has requests of priority {others}")
