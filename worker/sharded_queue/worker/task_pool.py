"""
Runs the coroutines of many lanes in few tasks.

A task for each lane costs more than a short lane itself. So lanes whose handlers wait for nothing share a task, one
after another; a lane that waits keeps the task it is in for so long, and another task takes those behind it. No task
waits with a lane that *asks* for what comes to many lanes at once, as the answers to their settlements do.

A strand may also have a task *of its own*, from its beginning to its end: for handlers that open in one method what
they close in another, and what belongs to a task.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

LONGEST_STEP_SECONDS = 0.005
"""Handlers that never wait let the rest of the process have a turn after so long: settlements are sent, calls heard."""


class _Asking:
    """What a strand yields when it is to go on by `Strand.answer` and not by a future."""


ASKING = _Asking()
Ended = Callable[[BaseException | None], None]


class Strand:
    """
    One coroutine, in a context of its own. It may go on in another task after it has asked, and only then; never where
    it has a task of its own.
    """

    __slots__ = ("_answer", "_context", "_coroutine", "_crew", "ended", "is_asking", "task")

    def __init__(self, crew: "Crew", coroutine: Coroutine[Any, Any, None], ended: Ended) -> None:
        self._crew, self._coroutine, self.ended = crew, coroutine, ended
        self._context = copy_context()
        self.task: asyncio.Task[None] | None = None
        """The one that waits for what the coroutine waits for."""
        self.is_asking = False
        self._answer: asyncio.Future[object] | None = None

    def step(self, value: object) -> Any:
        """Run until it waits for something, which is returned."""
        if isinstance(value, BaseException):
            return self._context.run(self._coroutine.throw, value)
        return self._context.run(self._coroutine.send, value)

    def answer(self, value: object) -> None:
        """Go on where it asks with *value*, raised there if it is an exception; only the first answer counts."""
        if not self.is_asking:
            return
        self.is_asking = False
        if self._answer is None:
            self._crew.make_ready(self, value)
        elif not self._answer.done():  # its task is being cancelled otherwise
            self._answer.set_result(value)

    def ask(self) -> "asyncio.Future[object]":
        """Where the answer comes to a strand that keeps its task while it asks."""
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def cancel(self) -> None:
        """Raise `CancelledError` where it waits or asks; one that does neither has to look by itself."""
        if self.task:
            self.task.cancel()
        else:
            self.answer(asyncio.CancelledError())


class Crew:
    """Tasks that run strands; as many as there are strands that wait, and one more while there is something to do."""

    def __init__(self) -> None:
        self._ready: deque[tuple[Strand, object]] = deque()
        self._next: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()
        self.current: Strand
        """The one that runs, for whoever is to answer what it asks."""

    def start(self, coroutine: Coroutine[Any, Any, None], ended: Ended) -> Strand:
        """Run *coroutine*; *ended* is called with what it raised, or None."""
        strand = Strand(self, coroutine, ended)
        self.make_ready(strand, None)
        return strand

    def start_alone(self, coroutine: Coroutine[Any, Any, None], ended: Ended) -> Strand:
        """Run *coroutine* in a task of its own, which it keeps also while it asks."""
        strand = Strand(self, coroutine, ended)
        task = asyncio.create_task(self._run_alone(strand))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return strand

    async def _run_alone(self, strand: Strand) -> None:
        strand.task = asyncio.current_task()  # from here on a cancellation is raised inside the coroutine
        await self._stay(strand)

    @coroutine
    def _stay(self, strand: Strand) -> Generator[Any, Any, None]:
        value: object = None
        while True:
            self.current = strand
            try:
                awaited = strand.step(value)
            except StopIteration:
                return strand.ended(None)
            except BaseException as error:
                strand.ended(error)
                if isinstance(error, Exception | asyncio.CancelledError):
                    return None
                raise
            try:
                if awaited is ASKING:
                    strand.is_asking = True
                    value = yield from strand.ask()
                else:
                    value = yield awaited
            except BaseException as error:  # a cancellation is raised where the strand waits or asks
                strand.is_asking, value = False, error

    def make_ready(self, strand: Strand, value: object) -> None:
        self._ready.append((strand, value))
        self._call_task()

    def _call_task(self) -> None:
        """Have a task for what is ready: the running one may wait for its strand for long."""
        if self._ready and (self._next is None or self._next.done()):
            self._next = asyncio.create_task(self._work())

    async def _work(self) -> None:
        self._next = None
        task, began = asyncio.current_task(), time.monotonic()
        assert task
        while self._ready and not task.cancelling():  # the cancellation was meant for the strand that has ended
            await self._advance(*self._ready.popleft(), task)
            if time.monotonic() - began > LONGEST_STEP_SECONDS:
                break
        self._call_task()

    @coroutine
    def _advance(self, strand: Strand, value: object, task: "asyncio.Task[None]") -> Generator[Any, Any, None]:
        """Run a strand until it asks or ends; whatever it waits for, this task waits for."""
        while True:
            self.current = strand
            try:
                awaited = strand.step(value)
            except StopIteration:
                return strand.ended(None)
            except BaseException as error:
                strand.ended(error)
                if isinstance(error, Exception | asyncio.CancelledError):
                    return None
                raise
            if awaited is ASKING:
                strand.is_asking = True
                return None
            self._call_task()
            strand.task = task
            try:
                value = yield awaited
            except BaseException as error:  # a cancellation is raised where the strand waits
                value = error
            strand.task = None


@coroutine
def asked() -> Generator[Any, Any, Any]:
    """What the running strand is answered with."""
    return (yield ASKING)
