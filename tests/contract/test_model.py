"""
Any sequence of calls, on memory and on a real Redis at once: same answers, same indices, and all of it adds up.

Commands and answers get lost on the way to Redis, so that scripts are sent again, and first sendings are held up there
and arrive among newer commands, any number of times; memory does each call once.
MODEL_STEPS sets the number of steps (default 3,000, and 12,000 in CI), MODEL_SEED begins with the same ones again. The
parts run side by side.
"""

import os

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from sharded_queue import settings
from sharded_queue.backends.redis import scripts, storage
from tests.conftest import MODEL_SEED
from tests.contract.model import Machine, OneClock
from tools.redis_server import RedisServer

STEPS = int(os.environ.get("MODEL_STEPS") or ("12000" if os.environ.get("CI") else "3000"))
PARTS = 3
STEPS_A_RUN = 50


@pytest.mark.redis
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_memory_and_redis_are_the_same_queue(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(scripts, "PAUSE_SECONDS", 0.0001)
    monkeypatch.setattr(storage, "PACKED_MESSAGES", 2)  # a registration of the model is small
    settings.crash_limit = 3
    clock = OneClock()

    def make() -> Machine:
        return Machine(redis_server.port, clock)

    make._hypothesis_internal_use_seed = MODEL_SEED + part  # type: ignore[attr-defined] # what @seed writes on a test
    run_state_machine_as_test(
        make,
        settings=hypothesis_settings(
            max_examples=max(1, STEPS // STEPS_A_RUN // PARTS),
            stateful_step_count=STEPS_A_RUN,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
