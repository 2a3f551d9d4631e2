"""Redis in each way it may be reached: alone, behind a Sentinel, as a Cluster; with or without TLS and users."""

import re
import subprocess
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sharded_queue.backends.redis.client import RedisOptions
from tests.contract.users import acl_file, rights_on_a_cluster
from tests.harness.certificates import Authority, TlsServer
from tests.harness.redis_groups import MASTER
from tools.cluster.processes import poll_until
from tools.redis_server import RedisServer

Mode = Literal["Standalone", "Sentinel", "Cluster"]
MODES: tuple[Mode, ...] = ("Standalone", "Sentinel", "Cluster")
SLOTS = 16384


class Way(NamedTuple):
    """How Redis is reached."""

    mode: Mode
    tls: bool
    users: bool

    def __str__(self) -> str:
        return "-".join([self.mode.lower(), *["tls"] * self.tls, *["users"] * self.users])


WAYS = [Way(mode, tls, users) for mode in MODES for tls in (False, True) for users in (False, True)]


class Topology:
    """The servers of one way. A Cluster has two nodes, so that a part of the keys is elsewhere."""

    def __init__(self, way: Way, folder: Path, authority: Authority) -> None:
        self.way, self.folder, self.authority = way, folder, authority
        self.servers: list[RedisServer] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Topology":
        options = {"aclfile": str(self._acl_file())} if self.way.users else {}
        if self.way.mode == "Cluster":
            options |= {"cluster-enabled": "yes", **({"tls-cluster": "yes"} if self.way.tls else {})}
            self._start("one", **options)
            self._start("two", **options)
            self._join(*self.servers)
        else:
            self._start("master", **options)
        if self.way.mode == "Sentinel":
            self._watch(self.servers[0])
        return self

    def kill(self) -> None:
        for server in reversed(self.servers):
            server.kill()

    @property
    def keepers(self) -> list[RedisServer]:
        """The servers that keep data."""
        return self.servers[:1] if self.way.mode == "Sentinel" else self.servers

    def clear(self) -> None:
        for server in self.keepers:
            self.told(server, "FLUSHALL")

    def told(self, server: RedisServer, *words: str) -> str:
        """What redis-cli prints."""
        tls = ("--tls", "--cacert", str(self.authority.file)) if self.way.tls else ()
        user = ("--no-auth-warning", "--user", "hands", "-a", "hands") if self.way.users else ()
        command = ["redis-cli", "-p", str(server.port), *tls, *user, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def options(self, user: str) -> RedisOptions:
        """How a process of *user* reaches the queues; without users, all are the same."""
        entrance = self.servers[1:] if self.way.mode == "Sentinel" else self.servers
        known = {"username": user, "password": _password(user)} if self.way.users else {}
        if self.way.mode == "Sentinel":
            known |= {"sentinel_master": MASTER, **({"sentinel_password": "hands"} if self.way.users else {})}
        return RedisOptions(
            tuple(server.address for server in entrance),
            mode=self.way.mode,
            tls=self.way.tls,
            tls_ca=str(self.authority.file) if self.way.tls else None,
            timeout_seconds=30.0,
            **known,
        )

    def environment(self, user: str) -> dict[str, str]:
        """What a program of *user* is told."""
        options = self.options(user)
        told = {
            "ADDRESS": ",".join(options.addresses),
            "MODE": options.mode,
            "USERNAME": options.username,
            "PASSWORD": options.password,
            "SENTINEL_MASTER": options.sentinel_master,
            "SENTINEL_PASSWORD": options.sentinel_password,
            "TLS": "Verify" if options.tls else None,
            "TLS_CA": options.tls_ca,
        }
        return {f"QUEUE_REDIS_{name}": value for name, value in told.items() if value}

    def spec(self) -> dict[str, Any]:
        """What a ShardedQueue says of it."""
        options = self.options("operator")
        said: dict[str, Any] = {"addresses": list(options.addresses), "mode": options.mode}
        if options.sentinel_master:
            said["sentinelMasterName"] = options.sentinel_master
        if options.tls:
            said["tls"] = {"mode": "Verify", "caSecretName": "authority"}
        if options.username:
            said["authSecretName"] = "auth"
        return said

    def secrets(self) -> dict[str, dict[str, bytes]]:
        """The Secrets that `spec` names."""
        options = self.options("operator")
        auth = {"username": options.username, "password": options.password}
        auth |= {"sentinelPassword": options.sentinel_password}
        return {
            "auth": {key: value.encode() for key, value in auth.items() if value},
            "authority": {"ca.crt": self.authority.file.read_bytes()},
        }

    def _start(self, name: str, **options: str) -> RedisServer:
        folder = self.folder / name
        server = TlsServer(folder, self.authority, **options) if self.way.tls else RedisServer(folder, **options)
        self.servers.append(server)
        return server.start()

    def _acl_file(self) -> Path:
        """The users of the repository; on a Cluster each has more rights."""
        file = acl_file(self.folder)
        if self.way.mode == "Cluster":
            lines = re.sub(r"^(user (?!default).*)$", rf"\1 {rights_on_a_cluster()}", file.read_text(), flags=re.M)
            file.write_text(lines)
        return file

    def _join(self, one: RedisServer, two: RedisServer) -> None:
        self.told(one, "CLUSTER", "ADDSLOTSRANGE", "0", str(SLOTS // 2 - 1))
        self.told(two, "CLUSTER", "ADDSLOTSRANGE", str(SLOTS // 2), str(SLOTS - 1))
        self.told(one, "CLUSTER", "MEET", "127.0.0.1", str(two.port))
        for node in (one, two):
            poll_until(
                lambda node=node: "cluster_state:ok" in self.told(node, "CLUSTER", "INFO"), "the cluster is whole"
            )

    def _watch(self, master: RedisServer) -> None:
        """A sentinel is a redis-server with a file of its own, into which it writes what it learns."""
        lines = [f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1"]
        if self.way.users:
            lines += [f"sentinel auth-user {MASTER} hands", f"sentinel auth-pass {MASTER} hands", "requirepass hands"]
        options = {"tls-replication": "yes"} if self.way.tls else {}
        folder = self.folder / "sentinel"
        server = TlsServer(folder, self.authority, **options) if self.way.tls else RedisServer(folder)
        self.servers.append(_as_sentinel(server, lines))
        server.start()


def _as_sentinel(server: RedisServer, lines: list[str]) -> RedisServer:
    usual = server._command
    file = server.folder / "sentinel.conf"
    server.folder.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))
    server._command = lambda: ["redis-server", str(file), "--sentinel", *usual()[1:]]  # type: ignore[method-assign]
    return server


def _password(user: str) -> str:
    return "hands" if user == "hands" else f"change-me-{user}"
