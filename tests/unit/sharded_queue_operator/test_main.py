"""The process of the operator: what it does about what kopf leaves behind."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from kopf._cogs.aiokits.aiotasks import create_guarded_task

from sharded_queue_operator.__main__ import kopf_ended


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
    await kopf_ended()

    assert (watcher.cancelled(), swallowed) == (True, 2)


async def test_tasks_of_others_are_left_alone() -> None:
    ours = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await kopf_ended()

    assert not ours.done()
    ours.cancel()


def typed(*words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """The program where no cluster is known."""
    lonely = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "QUEUE_", "OPERATOR_"))}
    command = [sys.executable, "-m", "sharded_queue_operator", *words]
    environment = lonely | {"HOME": str(home), "COLUMNS": "80"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_needs_no_cluster_and_lists_the_settings(tmp_path: Path) -> None:
    said = typed("--help", home=tmp_path)

    assert (said.returncode, said.stderr) == (0, "")
    assert "OPERATOR_LOG_LEVEL" in said.stdout
    assert "Traceback" not in said.stdout


def test_words_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    said = typed("--namespace", "x", home=tmp_path)

    assert (said.returncode, "unrecognized arguments: --namespace" in said.stderr) == (2, True)


def test_without_a_cluster_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    said = typed(home=tmp_path)

    assert said.returncode == 1
    assert "sharded-queue-operator: found no cluster" in said.stderr
    assert "Traceback" not in said.stderr
