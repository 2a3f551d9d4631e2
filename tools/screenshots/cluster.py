"""
`python -m tools.screenshots.cluster PORT`: the console with the operator's page before a stand-in for an API server,
whose numbers are those of the run in Redis.
"""

import asyncio
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any, cast

from sharded_queue import RedisStorage
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue.web.app import Options
from sharded_queue.web.command import listening, serve
from sharded_queue.web.host import Host
from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.console.page import QueuesPage
from tools.screenshots.shop import Charge, Mail

WORKERS = 2
HANDLERS = {"charges": Charge.name, "mails": Mail.name}
READY = {"type": "Ready", "status": "True", "reason": "Scaling", "message": "the workers follow the queue"}


class StandIn:
    """Answers a list as an API server would with an operator that has decided for the workers of the run."""

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        states = await observed()
        queues = [
            resource(name, handler, state) for (name, handler), state in zip(HANDLERS.items(), states, strict=True)
        ]
        return {"items": queues}

    async def close(self) -> None:
        """Nothing is open."""


async def observed() -> Sequence[ShardState]:
    client = connect()
    try:
        return await RedisStorage(client).observe([Shard(handler) for handler in HANDLERS.values()])
    finally:
        await close(client)


def resource(name: str, handler: str, state: ShardState) -> dict[str, Any]:
    need = f"{counted(state.depth, 'request')} in {counted(state.threads, 'thread')} ask for"
    message = f"{need} {WORKERS} workers" if state.depth else f"{need} 0 workers; keeping {WORKERS} for up to 60 s"
    numbers = dict.fromkeys(("desiredReplicas", "replicas", "readyReplicas"), WORKERS)
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {
            "redis": {"addresses": ["redis:6379"]},
            "handlers": [{"name": handler}],
            "worker": {"image": "shop", "modules": ["shop"]},
            "scaling": {"maxReplicas": 8},
        },
        "status": {**numbers, "threads": {"bound": state.bound}, "message": message, "conditions": [READY]},
    }


async def stand_in() -> Api:
    return cast("Api", StandIn())


def open_page(_: str) -> QueuesPage:
    return QueuesPage((), stand_in)


if __name__ == "__main__":
    host = Host(EntryPoint("shardedqueues", f"{__name__}:open_page", "sharded_queue.pages"))
    asyncio.run(serve(listening("127.0.0.1", int(sys.argv[1])), Options(added=[host])))
