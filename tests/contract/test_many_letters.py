"""Thousands of dead letters go back to the head of their thread, by each way, and however often the act is killed."""

from pathlib import Path

import pytest

from bench.replay import replay, staged
from sharded_queue.storage import STEP_NUMBERS
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]
LETTERS = 4 * STEP_NUMBERS
"""`python -m bench.replay` does the same with 100,000, and looks how long Redis is kept."""


@pytest.mark.parametrize("way", ["command", "program"])
async def test_a_replay_that_is_killed_again_and_again_keeps_the_order_beside_a_worker(
    way: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with staged(redis_server, tmp_path / "scene") as scene:
        outcome = await replay(scene, way, LETTERS, STEP_NUMBERS)

    assert outcome.is_in_order
    assert outcome.left == [3 * STEP_NUMBERS, 2 * STEP_NUMBERS, STEP_NUMBERS], "in steps of a bounded size"
    assert outcome.reasons == {"its dead letters are being put back at its head"}
