"""The watches of the operator, and the tasks that kopf leaves behind."""

import asyncio

from kopf._cogs.aiokits.aiotasks import create_guarded_task

from sharded_queue_operator.controller.watches import cancel_leftover_kopf_tasks


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
    await cancel_leftover_kopf_tasks()

    assert (watcher.cancelled(), swallowed) == (True, 2)


async def test_tasks_of_others_are_left_alone() -> None:
    ours = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await cancel_leftover_kopf_tasks()

    assert not ours.done()
    ours.cancel()
