"""Many resources on one Redis: what they cost together while requests wait and nothing happens."""

import asyncio

import yaml
from redis.asyncio import Redis

from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from tests.operator_api.conftest import Queues
from tools.operator_process import Operator, until, until_reached
from tools.redis_proxy import CountingProxy

NAMES = [f"fleet-{number:03d}" for number in range(200)]
THREADS = 10
POLLS = 5


async def test_many_resources_take_one_round_trip_a_poll_one_script_each_and_no_write(
    queues: Queues, operator: Operator
) -> None:
    async with (
        Redis(port=queues.redis.port) as redis,
        CountingProxy(queues.redis.port) as proxy,
    ):
        await fill(redis)
        await asyncio.to_thread(create, queues, proxy)
        await asyncio.to_thread(until_reached, lambda: known(operator), len(NAMES), "queues are known")
        await asyncio.to_thread(rest, operator)
        writes, polls, trips, scripts = operator.writes(), read(operator), proxy.trips, await called(redis)

        await asyncio.to_thread(operator.wait_for_polls, POLLS * len(NAMES))
        more = read(operator) - polls
        assert operator.writes() == writes
        assert more - 1 <= proxy.trips - trips <= more + 1
        assert await called(redis) - scripts <= (more + 1) * len(NAMES)


async def fill(redis: Redis) -> None:
    entries = [Entry(str(thread), 0, [b"[1]"] * 3) for thread in range(THREADS)]
    for name in NAMES:
        await RedisStorage(redis).register(Shard(name), Registration(entries))


def create(queues: Queues, proxy: CountingProxy) -> None:
    """No worker comes for their requests; that they starve is told, and written, after the drain time."""
    scaling = {"mode": "Recommend", "targetDrainSeconds": 600}
    spec = {"redis": {"addresses": [f"127.0.0.1:{proxy.port}"]}, "scaling": scaling}
    manifests = [queues.manifest(name, handlers=[{"name": name}], **spec) for name in NAMES]
    queues.kubectl("create", "--filename", "-", stdin=yaml.safe_dump_all(manifests))


def known(operator: Operator) -> float:
    return operator.total("sharded_queue_known")


def rest(operator: Operator) -> None:
    """Until a poll of all of them leads to no write."""

    def is_quiet() -> bool:
        before = operator.writes()
        operator.wait_for_polls(2 * len(NAMES))
        return operator.writes() == before

    until(is_quiet, "nothing is to be written", 60)


def read(operator: Operator) -> float:
    return operator.total("sharded_queue_operator_poll_seconds_count")


async def called(redis: Redis) -> int:
    """Scripts that Redis has run."""
    stats = await redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])
