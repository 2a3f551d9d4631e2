"""Fixtures of the tests of workers."""

import pytest

from sharded_queue import (
    settings,
)
from tests.contract.backend import Backend
from tests.contract.worker.bench import Bench


@pytest.fixture(autouse=True)
def quick() -> None:
    """Short waits where a test waits for a worker to give up."""
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 0.05
    settings.retry_base = 0.01


@pytest.fixture
def bench(backend: Backend) -> Bench:
    return Bench(backend)
