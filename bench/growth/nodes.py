"""One Redis, or a Cluster of three, and what all nodes together report."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import ResponseError

from bench.server import READING_SECONDS, READINGS, data_bytes
from tools.redis_server import RedisServer

SLOTS = 16384
WHOLE_SECONDS = 30.0


class Nodes:
    """Clients that wait are fine here: nothing else runs while a node is asked."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self.clients = [Redis(port=server.port, socket_timeout=300) for server in servers]
        for client in self.clients:
            client.config_set("latency-monitor-threshold", 1)
            with suppress(ResponseError):  # see `server.track_no_latencies`
                client.config_set("latency-tracking", "no")

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def empty(self) -> None:
        for client in self.clients:
            client.flushall()
        self.reset()

    def reset(self) -> None:
        for client in self.clients:
            client.config_resetstat()
            client.latency_reset()

    def memory(self) -> int:
        """Of keys and values alone, once two readings are equal: see `server.settled_bytes`."""
        before = -1
        for _ in range(READINGS):
            now = sum(data_bytes(client.memory_stats()) for client in self.clients)
            if now == before:
                break
            before = now
            time.sleep(READING_SECONDS)
        return before

    def cpu_us(self) -> float:
        used = [client.info("cpu") for client in self.clients]
        return sum(float(each["used_cpu_user"]) + float(each["used_cpu_sys"]) for each in used) * 1e6

    def commands(self) -> int:
        """With those inside scripts."""
        stats = [client.info("commandstats") for client in self.clients]
        return sum(int(values["calls"]) for each in stats for values in each.values())

    def longest_block_ms(self) -> float:
        """The longest that any node was busy without a break, since the last reset; Redis notes whole milliseconds."""
        events = [event for client in self.clients for event in client.latency_latest()]
        return float(max((event[3] for event in events), default=0))

    def close(self) -> None:
        for client in self.clients:
            client.close()


@contextmanager
def started(folder: Path, count: int) -> Iterator[Nodes]:
    """A Cluster, if there are several."""
    options = {"cluster-enabled": "yes"} if count > 1 else {}
    servers = [RedisServer(folder / f"node-{count}-{each}", **options) for each in range(count)]
    try:
        for server in servers:
            server.start()
        if count > 1:
            join(servers)
        nodes = Nodes(servers)
        yield nodes
        nodes.close()
    finally:
        for server in servers:
            server.kill()


def join(servers: list[RedisServer]) -> None:
    bounds = [SLOTS * each // len(servers) for each in range(len(servers) + 1)]
    for server, low, high in zip(servers, bounds, bounds[1:], strict=False):
        ask(server, "CLUSTER", "ADDSLOTSRANGE", str(low), str(high - 1))
        ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", str(server.port))
    deadline = time.monotonic() + WHOLE_SECONDS
    while not all(is_whole(server, len(servers)) for server in servers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Cluster was not whole within {WHOLE_SECONDS:g} s")
        time.sleep(0.05)


def is_whole(server: RedisServer, count: int) -> bool:
    said = ask(server, "CLUSTER", "INFO")
    return "cluster_state:ok" in said and f"cluster_known_nodes:{count}" in said


def ask(server: RedisServer, *words: str) -> str:
    """What redis-cli prints."""
    command = ["redis-cli", "-p", str(server.port), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
