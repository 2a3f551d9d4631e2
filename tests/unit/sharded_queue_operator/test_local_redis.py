from pathlib import Path

import pytest

from sharded_queue_operator.local import local_redis
from sharded_queue_operator.local.local_redis import LocalRedis
from sharded_queue_operator.local.processes import RunFailed
from tools.redis_server import RedisServer


def test_without_a_redis_to_start_run_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RunFailed, match=r"apt-get install redis-server.*--redis HOST:PORT"):
        LocalRedis(tmp_path).command()


@pytest.mark.redis
@pytest.mark.slow
async def test_a_port_that_another_program_took_meanwhile_is_not_insisted_on(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of an earlier run in the same folder does not count either."""
    (tmp_path / "redis.log").write_text("Ready to accept connections tcp\n")
    ports = [local_redis.free_port(), redis_server.port]
    monkeypatch.setattr(local_redis, "free_port", ports.pop)
    redis = LocalRedis(tmp_path)
    try:
        assert await redis.start() != redis_server.address
    finally:
        await redis.stop()

    assert ports == []
