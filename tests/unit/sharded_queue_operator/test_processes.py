import asyncio
import os
import signal
from pathlib import Path

import pytest

from sharded_queue_operator.local import processes
from sharded_queue_operator.local.processes import start_process, stop_process

pytestmark = pytest.mark.slow

SECONDS = 10


async def test_a_producer_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.1)
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        producer = await start_process(["sleep", "600"], tmp_path, os.environ, tmp_path / "log")
    finally:
        signal.signal(signal.SIGTERM, usual)

    await asyncio.wait_for(stop_process(producer), SECONDS)

    assert producer.returncode == -signal.SIGKILL
