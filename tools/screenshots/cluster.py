"""
`python -m tools.screenshots.cluster PORT`: the console before a stand-in for an API server, whose numbers are those of
the run in Redis.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

import msgspec

from sharded_queue import RedisStorage
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.printable import counted
from sharded_queue.state import ShardState
from sharded_queue.tube import Shard
from sharded_queue.web import sharded_queues as kind
from sharded_queue.web.api_server import ApiServer
from sharded_queue.web.app import Options
from sharded_queue.web.command import listening, serve
from tools.screenshots.shop import Charge, Mail

WORKERS = 2
HANDLERS = {"charges": Charge.name, "mails": Mail.name}


class StandIn:
    """Answers a list as an API server would with an operator that has decided for the workers of the run."""

    def get(self, path: str, limit: int) -> bytes:
        states = asyncio.run(observed())
        queues = [
            resource(name, handler, state) for (name, handler), state in zip(HANDLERS.items(), states, strict=True)
        ]
        return msgspec.json.encode(kind.Listed(queues))


async def observed() -> Sequence[ShardState]:
    client = connect()
    try:
        return await RedisStorage(client).observe([Shard(handler) for handler in HANDLERS.values()])
    finally:
        await close(client)


def resource(name: str, handler: str, state: ShardState) -> kind.ShardedQueue:
    need = f"{counted(state.depth, 'request')} in {counted(state.threads, 'thread')} ask for"
    message = f"{need} {WORKERS} workers" if state.depth else f"{need} 0 workers; keeping {WORKERS} for up to 60 s"
    return kind.ShardedQueue(
        kind.Metadata(name, "shop", uid=name),
        kind.Spec([kind.Handler(handler)], kind.Scaling(max_replicas=8)),
        kind.Status(WORKERS, WORKERS, WORKERS, kind.Threads(state.bound), message),
    )


if __name__ == "__main__":
    reader = kind.ClusterReader(cast("ApiServer", StandIn()))
    asyncio.run(serve(listening("127.0.0.1", int(sys.argv[1])), Options(cluster=reader)))
