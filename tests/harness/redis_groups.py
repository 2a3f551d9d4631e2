"""Several redis-servers that make one Redis: behind a Sentinel, and as a Cluster. All are real local processes."""

import subprocess
from pathlib import Path

from tools.cluster.processes import poll_until
from tools.redis_server import RedisServer

MASTER = "queues"
# No test wants a failover, and a machine that stands still must not cause one.
SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {master_port} 1
sentinel down-after-milliseconds {master} 600000
sentinel failover-timeout {master} 3000
"""


class Sentinels:
    """A master, a replica of it, and a sentinel that watches both."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "master").start()
        self.replica = RedisServer(folder / "replica", replicaof=f"127.0.0.1 {self.master.port}").start()
        self.sentinel = SentinelServer(folder / "sentinel", self.master.port).start()
        poll_until(lambda: "slaves=1" in self.sentinel.told("info", "sentinel"), "the sentinel knows the replica")

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.sentinel.address,)

    def kill(self) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.kill()


class Nodes:
    """A Cluster of three masters, all slots covered. *options* go to each, over ours."""

    def __init__(self, folder: Path, **options: str) -> None:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "600000", **options}
        self.nodes = [RedisServer(folder / str(number), **options).start() for number in range(3)]
        told(self.nodes[0].port, "--cluster", "create", *self.addresses, "--cluster-yes")
        for node in self.nodes:
            poll_until(
                lambda node=node: "cluster_state:ok" in told(node.port, "cluster", "info"), "the cluster is whole"
            )

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.nodes)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


class SentinelServer(RedisServer):
    """A sentinel is a redis-server with a file of its own, into which it writes what it learns."""

    def __init__(self, folder: Path, master_port: int) -> None:
        super().__init__(folder)
        self._master_port = master_port

    def _command(self) -> list[str]:
        file = self.folder / f"sentinel-{self.port}.conf"  # on another port it has learned nothing yet
        if not file.exists():
            known = {"port": self.port, "folder": self.folder, "master": MASTER, "master_port": self._master_port}
            file.write_text(SENTINEL.format(**known))
        return ["redis-server", str(file), "--sentinel"]

    def told(self, *words: str) -> str:
        return told(self.port, *words)


def told(port: int, *words: str) -> str:
    """What redis-cli prints."""
    command = ["redis-cli", "-p", str(port), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
