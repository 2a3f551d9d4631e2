import sys

import pytest

from sharded_queue_operator.local.processes import RunFailed
from sharded_queue_operator.local.session import words


def test_the_python_of_a_producer_is_ours() -> None:
    assert words("python -m notifications --requests 7") == [sys.executable, "-m", "notifications", "--requests", "7"]


@pytest.mark.parametrize("command", ["", "'"])
def test_a_producer_that_is_not_a_command_is_refused(command: str) -> None:
    with pytest.raises(RunFailed, match="cannot be read"):
        words(command)
