"""A plugin of the inner pytest: refuse to test anything but the copy that was broken."""

import os
from pathlib import Path

import pytest

import sharded_queue

VARIABLE = "MUTANT"


def pytest_configure() -> None:
    used, wanted = Path(sharded_queue.__file__).parent, Path(os.environ[VARIABLE])
    if used != wanted:
        raise pytest.UsageError(f"the tests run on {used}, not on the copy {wanted}")
