"""Scale-down of worker processes, by the rule of `scaling/surplus.py`: each finishes what it holds before it goes."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence, Set
from time import monotonic

from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.tube import Shard
from sharded_queue_operator.local.workers import WorkerProcess
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.surplus import Candidate, Cordons, Plan, Stage, count_swaps, plan_scale_down

log = logging.getLogger(__name__)

CORDON_SECONDS = 60.0
"""Renewed at each reading while a worker is awaited."""


class LocalScaleDown:
    def __init__(self, storage: RedisStorage, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._coordinator = RedisCoordinator(storage.link.redis)
        self._coordinator.attach(storage)
        self._cordons = Cordons()
        self._cordoned_at = float("-inf")

    async def follow(self, workers: Sequence[WorkerProcess], seen: Observation, decision: Decision) -> Plan:
        """Who goes by *decision*. *workers*: all that stay so far."""
        if monotonic() >= self._cordoned_at + CORDON_SECONDS:
            self._cordons = Cordons()
        if decision.leaves_cordons(seen, len(self._cordons.since)):
            return Plan({}, seen.replicas)
        replicas = seen.replicas if decision.replicas is None else decision.replicas
        is_conclusive = seen.doubt is None and not seen.unlisted_holds
        read_at = seen.read_at if is_conclusive else float("-inf")
        plan = plan_scale_down(_candidates(workers, seen), seen.replicas, replicas, self._cordons, read_at)
        if await self._place(plan):
            return plan
        return Plan({}, max(seen.replicas, replicas))

    async def _place(self, plan: Plan) -> bool:
        """Cordon the surplus, and lift the cordons of workers that are wanted again; whether Redis did it."""
        since, surplus = self._cordons.since, plan.surplus
        lifted = plan.names(Stage.WANTED) & since.keys()
        try:
            await self._cordon(surplus, CORDON_SECONDS)
            await self._cordon(lifted, 0)
        except REDIS_FAILURES as error:
            log.warning("workers cannot be cordoned: %s", error)
            return False
        if surplus:
            self._cordoned_at = monotonic()
        kept = {name: since.get(name, self._cordoned_at) for name in surplus}
        self._cordons = Cordons(kept, count_swaps(self._cordons, surplus) if surplus else 0)
        return True

    async def _cordon(self, names: Set[str], seconds: float) -> None:
        if names:
            async with asyncio.timeout(ANSWER_SECONDS):
                for shard in self._shards:
                    await self._coordinator.cordon(shard, sorted(names), seconds)


def _candidates(workers: Sequence[WorkerProcess], seen: Observation) -> list[Candidate]:
    loads, holds = seen.loads, Counter(hold.worker for state in seen.shards for hold in state.held)
    return [
        Candidate(worker.name, loads[worker.name], holds[worker.name], created=f"{worker.started_at:020.6f}")
        for worker in workers
    ]
