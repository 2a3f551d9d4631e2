"""Processes of this machine: how a session starts one, stops it, and quotes what it said."""

import asyncio
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharded_queue.errors import ShardedQueueError
from sharded_queue_operator.resource.deployment import GRACE_SECONDS

LAST_LINES = 5


class RunFailed(ShardedQueueError):
    """Something that the session needs does not work; the message says what to do."""


async def start_process(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Process:
    """In a session of its own: a Ctrl-C in the terminal reaches this process alone, which passes it on in its way."""
    with log.open("ab") as output:
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=dict(environment),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RunFailed(f"{command[0]} cannot be started: {error.strerror}") from error


async def stop_process(process: Process) -> None:
    """Terminate a process, and kill it when it has not ended within the grace period of a pod."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:]) or "it said nothing"
