"""The watches of the operator, and the tasks that kopf leaves behind."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from kopf._cogs.aiokits.aiotasks import create_guarded_task, stop

from sharded_queue_operator.controller import watches
from sharded_queue_operator.controller.watches import end_kopf_tasks
from sharded_queue_operator.process import finished


@pytest.mark.slow
async def test_a_watcher_of_kopf_that_swallows_its_cancellation_is_ended() -> None:
    """As they do when they are cancelled together with what pauses them: one left the process running for ever."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    watcher = create_guarded_task(stubborn(), "watcher")
    await asyncio.sleep(0)
    await end_kopf_tasks()

    assert (watcher.cancelled(), swallowed) == (True, 2)


@pytest.mark.slow
async def test_the_watches_end_though_kopf_waits_for_such_a_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """So its orchestrator does. An operator that was told to stop once waited for it for ever."""
    is_swallowed = False

    async def stubborn() -> None:
        nonlocal is_swallowed
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            is_swallowed = True
        await asyncio.Event().wait()

    async def orchestrate() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await stop([watcher], title="streaming")
            raise

    async def spawned(*_: Any) -> Any:
        return [orchestrator]

    watcher = create_guarded_task(stubborn(), "watcher")
    orchestrator = create_guarded_task(orchestrate(), "orchestrator")
    monkeypatch.setattr(watches, "_kopf_tasks", spawned)
    watching = asyncio.create_task(watches._watch_once(Mock(), Mock(), asyncio.Event()))
    await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.wait([watching], timeout=30)

    assert (watching.cancelled(), orchestrator.cancelled(), watcher.cancelled()) == (True, True, True)
    assert is_swallowed


async def test_what_must_be_ended_is_ended_though_its_caller_is_cancelled_meanwhile() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), False

    async def ending() -> None:
        nonlocal ended
        begun.set()
        await may_end.wait()
        ended = True

    caller = asyncio.create_task(finished(ending()))
    await begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    await asyncio.wait([caller])

    assert (caller.cancelled(), ended) == (True, True)


async def test_tasks_of_others_are_left_alone() -> None:
    ours = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await end_kopf_tasks()

    assert not ours.done()
    ours.cancel()
