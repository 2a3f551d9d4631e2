"""`python -m bench.others`: what other queues do with the order of ten jobs, for docs/comparison.md."""

import asyncio
import tempfile
from pathlib import Path

from redis.asyncio import Redis

from bench import environments
from bench.ending import ended_by_signals
from bench.environments import ROOT
from bench.others import failing
from bench.page import write_part
from bench.report import aligned, markdown
from tools.redis_server import RedisServer

PAGE = ROOT / "docs" / "comparison.md"


async def main() -> None:
    environments.PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ended_by_signals():
        server = RedisServer(Path(folder)).start()
        try:
            async with Redis(port=server.port, socket_timeout=2 * failing.PATIENCE) as redis:
                rows = await failing.table(redis, server.port)
        finally:
            server.kill()
    print(aligned(rows))
    write_part(PAGE, "jobs of a key", markdown(rows))


asyncio.run(main())
