"""
Runs the coroutines of many lanes in few tasks.

A task for each lane costs more than a short lane itself. Lanes whose handlers never suspend run one after another in
one task. A lane that does suspend keeps its task until it resumes; a new task picks up the lanes queued behind it. A
lane that waits for something that many lanes get at once, as the answers to their settlements, gives its task away:
it *suspends* until `Fiber.answer`.

A fiber may also have a task *of its own* from its beginning to its end: for handlers that open something in one method
and close it in another, where what they open belongs to a task.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

LONGEST_STEP_SECONDS = 0.005
"""A task runs fibers that never suspend for this long; then the rest of the event loop has its turn."""


class _Suspended:
    """What a fiber yields to be resumed by `Fiber.answer` and not by a future."""


SUSPENDED = _Suspended()
Ended = Callable[[BaseException | None], None]


class Fiber:
    """
    One coroutine, in a context of its own. It may resume in another task after it was suspended, and only then; never
    where it has a task of its own.
    """

    __slots__ = ("_answer", "_context", "_coroutine", "_pool", "_runner", "ended", "is_suspended", "must_stop", "task")

    def __init__(self, pool: "TaskPool", coroutine: Coroutine[Any, Any, None], ended: Ended) -> None:
        self._pool, self._coroutine, self.ended = pool, coroutine, ended
        self._context = copy_context()
        self.task: asyncio.Task[None] | None = None
        """The task that awaits what the coroutine awaits."""
        self.is_suspended = False
        self.must_stop: Callable[[], bool] | None = None
        """Asked before the coroutine goes on after it awaited something: whether to raise `CancelledError` there."""
        self._runner: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[object] | None = None

    def is_run_by(self, task: "asyncio.Task[Any]") -> bool:
        """Whether the coroutine runs now, where *task* is what the event loop runs."""
        return task is self._runner and self._pool.current is self

    def go_on(self, value: object) -> object:
        """What to resume with, when what it awaited gave *value*."""
        return asyncio.CancelledError() if self.must_stop and self.must_stop() else value

    def step(self, value: object, task: "asyncio.Task[None] | None") -> Any:
        """Run in *task* until it awaits something, which is returned."""
        self._pool.current, self._runner = self, task
        if isinstance(value, BaseException):
            return self._context.run(self._coroutine.throw, value)
        return self._context.run(self._coroutine.send, value)

    def answer(self, value: object) -> None:
        """Resume with *value*, which is raised if it is an exception. Only the first answer counts."""
        if not self.is_suspended:
            return
        self.is_suspended = False
        if self._answer is None:
            self._pool.make_ready(self, value)
        elif not self._answer.done():  # its task is being cancelled otherwise
            self._answer.set_result(value)

    def expect(self) -> "asyncio.Future[object]":
        """The future of the answer, for a fiber that keeps its task while it is suspended."""
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def cancel(self) -> None:
        """Raise `CancelledError` where it awaits something; a fiber that never does has to check for itself."""
        if self.task:
            self.task.cancel()
        else:
            self.answer(asyncio.CancelledError())


class TaskPool:
    """Tasks that run fibers: one for each fiber that awaits something, and one more while fibers are ready."""

    def __init__(self) -> None:
        self._ready: deque[tuple[Fiber, object]] = deque()
        self._next: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()
        self._context = copy_context()  # that of the fiber which calls a task would hold what that fiber handled
        self.current: Fiber
        """The fiber that runs: the one to answer when it suspends."""

    def start(self, coroutine: Coroutine[Any, Any, None], ended: Ended) -> Fiber:
        """Run *coroutine*; *ended* is called with what it raised, or None."""
        fiber = Fiber(self, coroutine, ended)
        self.make_ready(fiber, None)
        return fiber

    def start_alone(self, coroutine: Coroutine[Any, Any, None], ended: Ended) -> Fiber:
        """Run *coroutine* in a task of its own, which it keeps while it is suspended too."""
        fiber = Fiber(self, coroutine, ended)
        task = asyncio.create_task(self._run_alone(fiber))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return fiber

    async def _run_alone(self, fiber: Fiber) -> None:
        fiber.task = asyncio.current_task()  # from here on, a cancellation is raised inside the coroutine
        await self._stay(fiber)

    @coroutine
    def _stay(self, fiber: Fiber) -> Generator[Any, Any, None]:
        value: object = None
        while True:
            try:
                awaited = fiber.step(value, fiber.task)
            except StopIteration:
                return fiber.ended(None)
            except BaseException as error:
                fiber.ended(error)
                if isinstance(error, Exception | asyncio.CancelledError):
                    return None
                raise
            try:
                if awaited is SUSPENDED:
                    fiber.is_suspended = True
                    value = yield from fiber.expect()
                else:
                    value = fiber.go_on((yield awaited))
            except BaseException as error:  # a cancellation is raised where the fiber waits or asks
                fiber.is_suspended, value = False, error

    def make_ready(self, fiber: Fiber, value: object) -> None:
        self._ready.append((fiber, value))
        self._call_task()

    def _call_task(self) -> None:
        """Start a task for the fibers that are ready: the running task may have to wait with its fiber."""
        if self._ready and (self._next is None or self._next.done()):
            self._next = asyncio.create_task(self._work(), context=self._context)

    async def _work(self) -> None:
        self._next = None
        task, began = asyncio.current_task(), time.monotonic()
        assert task
        while self._ready and not task.cancelling():  # a cancellation was meant for the fiber that has ended
            await self._advance(*self._ready.popleft(), task)
            if time.monotonic() - began > LONGEST_STEP_SECONDS:
                break
        self._call_task()

    @coroutine
    def _advance(self, fiber: Fiber, value: object, task: "asyncio.Task[None]") -> Generator[Any, Any, None]:
        """Run a fiber until it suspends or ends. Whatever it awaits, this task awaits."""
        while True:
            try:
                awaited = fiber.step(value, task)
            except StopIteration:
                return fiber.ended(None)
            except BaseException as error:
                fiber.ended(error)
                if isinstance(error, Exception | asyncio.CancelledError):
                    return None
                raise
            finally:
                value = None  # an error refers to this frame: only the garbage collector would free the two
            if awaited is SUSPENDED:
                fiber.is_suspended = True
                return None
            self._call_task()
            fiber.task = task
            try:
                value = fiber.go_on((yield awaited))
            except BaseException as error:  # a cancellation is raised where the fiber waits
                value = error
            fiber.task = None


@coroutine
def suspend() -> Generator[Any, Any, Any]:
    """Suspend the running fiber; returns what it is answered with."""
    return (yield SUSPENDED)
