"""Threads that no worker may bind, on a real cluster."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from sharded_queue import RedisStorage
from tests.e2e.conftest import Chain
from tools.operator_process import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

THREADS = 20
SCALING = {"maxReplicas": 20, "threadsPerReplica": 1, "targetDrainSeconds": 1, "scaleDownStabilizationSeconds": 1}


def set_paused(chain: Chain, is_paused: bool, *threads: int) -> None:
    from notifications import NotifyHandler

    (shard,) = NotifyHandler.all_shards()

    async def pause(redis: Redis) -> None:
        for thread in threads:
            await RedisStorage(redis).pause(shard, str(thread), is_paused)

    chain.ask(pause)


def one_a_thread() -> list[Any]:
    from notifications import NotifyRequest

    return [NotifyRequest(user_id=thread, number=thread + 1) for thread in range(THREADS)]


def test_paused_threads_have_no_worker_and_the_one_that_goes_on_has_one(chain: Chain, operator: Operator) -> None:
    """Twenty paused threads had twenty workers for ever, and one paused thread had one."""
    chain.apply(seconds_per_request=1, scaling=SCALING | {"minReplicas": 2}, env={})
    chain.deployment(lambda it: it["status"].get("readyReplicas") == 2, seconds=60)
    set_paused(chain, True, *range(THREADS))
    chain.register(one_a_thread())
    chain.queue(lambda it: it["status"]["threads"]["blocked"] == THREADS)
    patch = {"spec": {"scaling": {"minReplicas": 0}}}
    chain.kubectl("patch", "shq", "notifications", "--type=merge", f"--patch={json.dumps(patch)}")
    chain.deployment(lambda it: it["spec"]["replicas"] == 0, seconds=60)
    assert chain.state().depth == THREADS

    set_paused(chain, False, 0)
    resumed = chain.deployment(lambda it: it["spec"]["replicas"])
    assert resumed["spec"]["replicas"] == 1
    chain.deployment(lambda it: it["spec"]["replicas"] == 0, seconds=60)
    assert chain.handled() == {"0": [1]}
    assert chain.state().depth == THREADS - 1
