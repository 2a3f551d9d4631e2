"""Whether an event loop moves, and what it runs if it does not."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sharded_queue import context
from sharded_queue.lease import Lease
from sharded_queue.tube import Shard
from sharded_queue.worker.pulse import Pulse, lease_of
from sharded_queue.worker.task_pool import TaskPool


async def test_a_loop_that_moves_is_not_silent() -> None:
    now = 0.0
    pulse = Pulse(asyncio.get_running_loop(), lambda: now)
    silences = []
    for _ in range(3):
        silences.append(pulse.silence())
        await asyncio.sleep(0)
        now += 1

    assert silences == [0, 0, 0]


async def test_a_blocked_loop_is_silent_since_it_was_looked_at() -> None:
    now = 0.0
    pulse = Pulse(asyncio.get_running_loop(), lambda: now)
    silences = []
    for _ in range(3):
        silences.append(pulse.silence())
        now += 1
    await asyncio.sleep(0)

    assert silences == [0, 1, 2]
    assert pulse.silence() == 0


def test_a_loop_may_answer_while_it_is_asked() -> None:
    """It runs in another OS thread, which may be faster."""

    class FastLoop(asyncio.AbstractEventLoop):
        def call_soon_threadsafe(self, callback: Callable[..., object], *_: object, **__: object) -> Any:
            callback()

    pulse = Pulse(FastLoop(), iter([0.0, 1.0]).__next__)  # type: ignore[abstract]

    assert [pulse.silence(), pulse.silence()] == [0, 0]


async def test_the_task_that_blocks_a_loop_is_known_in_other_os_threads() -> None:
    pulse = Pulse(asyncio.get_running_loop())
    seen: list[object] = []
    looking = threading.Thread(target=lambda: seen.append(pulse.task()))
    looking.start()
    looking.join()

    assert seen == [asyncio.current_task()]


async def test_a_fiber_knows_whether_a_task_runs_it() -> None:
    """Not while it waits, though its task is kept for it."""

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        seen.append(fibers[0].is_run_by(task))
        await asyncio.sleep(0)
        seen.append(fibers[0].is_run_by(task))
        waits.set()
        await go_on.wait()

    async def look() -> None:
        seen.append(fibers[0].is_run_by(tasks[0]))
        looked.set()

    tasks: list[asyncio.Task[object]] = []
    seen: list[bool] = []
    waits, looked, go_on, pool = asyncio.Event(), asyncio.Event(), asyncio.Event(), TaskPool()
    fibers = [pool.start(run(), lambda _: None)]
    await waits.wait()
    pool.start(look(), lambda _: None)
    await looked.wait()
    go_on.set()

    assert seen == [True, True, False]


async def test_a_task_that_a_handler_started_has_its_lease() -> None:
    lease = Lease(Shard("tests.Handler"), "a", "w/1", 1)
    token = context.lease.set(lease)
    task = asyncio.create_task(asyncio.sleep(0))
    context.lease.reset(token)
    if sys.version_info < (3, 12):
        with pytest.raises(LookupError):
            lease_of(task)
    else:
        assert lease_of(task) == lease
    await task
