"""How a process ends: on a signal, and all its tasks with the first one that ends."""

import asyncio
import signal
from collections.abc import Awaitable


async def race(*works: Awaitable[object]) -> None:
    """Run all until one ends; then cancel the others. An error of the one that ended is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def finished(work: Awaitable[None]) -> None:
    """
    Wait until *work* has ended, also if the caller is cancelled meanwhile.

    Raises:
        CancelledError: the caller was cancelled; *work* has ended all the same.
    """
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    task.result()


def install_signal_handlers(stop: asyncio.Event) -> None:
    """Set *stop* on SIGTERM and on SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
