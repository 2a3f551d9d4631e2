"""What a process must import before it can begin: a worker that starts from zero lets its first request wait for it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

NOT_FOR_A_WORKER = {
    "aiohttp",
    "rich",
    "sharded_queue.backends.redis.check",
    "sharded_queue.backends.redis.snapshot",
    "sharded_queue.cli.commands.threads",
    "sharded_queue.testing",
    "sharded_queue.cli.tables",
    "sharded_queue_operator",
}
IMPORT = "import sys; from sharded_queue.cli.program import main; main.get_command(None, 'worker'); print(*sys.modules)"


def test_a_worker_imports_no_other_command_and_nothing_that_draws() -> None:
    imported = set(subprocess.check_output([sys.executable, "-c", IMPORT], text=True).split())

    assert "sharded_queue.cli.commands.worker" in imported
    assert imported & NOT_FOR_A_WORKER == set()
