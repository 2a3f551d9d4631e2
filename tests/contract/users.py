"""A Redis whose users are those of `docs/users.acl`, and the backend on which each does its own part of the work."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from sharded_queue.backends.redis.client import RedisOptions, connect
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.scripts import digest, source
from tests.contract.backend import RedisBackend

USERS = Path(__file__).parents[2] / "docs" / "users.acl"
HANDS = "user hands on >hands ~* &* +@all"
"""A user for the hands of the tests, who may do everything."""

ROLES = ("producer", "worker", "operator", "viewer", "admin")
SCRIPTS = {
    "producer": ("register", "schedule"),
    "worker": ("bind", "fail", "isolate", "register_due", "release", "renew", "settle", "outlook"),
    "operator": ("cordon", "evict", "observe"),
    "admin": (
        "cancel",
        "letter_threads",
        "read_letters",
        "settle_dead",
        "delayed",
        "drop",
        "edit_schedule",
        "exhausted",
        "explain",
        "move_delayed",
        "pause",
        "peek",
        "progress",
        "snapshot",
        "try_anew",
        "repair",
        "reshard",
        "run_delayed",
        "run_schedule",
        "schedules",
        "unschedule",
        "workers",
    ),
}
"""The user of the suite that runs each script; what several may run is left to one of them here."""
COMMANDS = {
    "INFO": "worker",
    "TIME": "worker",
    "BLPOP": "worker",
    "RPUSH": "worker",
    "PEXPIRE": "worker",
    "ZREM": "worker",
    "ZSCORE": "producer",
    "ZRANGEBYSCORE": "admin",
    "ZREVRANGE": "admin",
    "ZSCAN": "admin",
    "ZCARD": "admin",
    "HGETALL": "admin",
    "HMGET": "admin",
    "LRANGE": "admin",
    "SCAN": "admin",
}


def acl_file(folder: Path) -> Path:
    """The users of the repository, and the hands of the tests."""
    file = folder / "users.acl"
    file.write_text(f"{USERS.read_text()}{HANDS}\n")
    return file


def options(user: str, port: int) -> RedisOptions:
    words = "hands" if user == "hands" else f"change-me-{user}"
    return RedisOptions((f"127.0.0.1:{port}",), username=user, password=words)


def client(user: str, port: int) -> Redis:
    made = connect(options(user, port))
    assert isinstance(made, Redis)
    return made


class UsersLink(Link):
    """Sends each command as the user whose work it is."""

    def __init__(self, clients: Mapping[str, Redis]) -> None:
        super().__init__(clients["worker"])
        self._links = {user: Link(clients[user]) for user in ROLES}
        self._users = dict(COMMANDS)
        for user, names in SCRIPTS.items():
            for name in names:
                self._users |= {digest(name): user, source(name): user}

    async def send_all(self, key: str, commands: Sequence[Sequence[Any]], *, seconds: float) -> list[Any]:
        name, *rest = commands[0]
        what = {"EVALSHA": 0, "SCRIPT": 1}.get(name)
        said = name if what is None else rest[what]
        assert said in self._users, (
            f"say in {__name__} which user sends {said!r:.60}, and give it the rights in {USERS}"
        )
        return await self._links[self._users[said]].send_all(key, commands, seconds=seconds)


class UsersBackend(RedisBackend):
    """The backend as it is run with least rights."""

    def __init__(self, clients: Mapping[str, Redis]) -> None:
        self.clients = clients
        super().__init__(clients["hands"])
        self.redis_storage.link = self.redis_storage.scripts.link = UsersLink(clients)

    def another_coordinator(self) -> Any:
        coordinator = super().another_coordinator()
        coordinator.link = coordinator.scripts.link = UsersLink(self.clients)  # type: ignore[attr-defined]
        return coordinator


def line_of(user: str) -> str:
    """The rules of a user in the file."""
    (line,) = re.findall(rf"^user {user} (.*)$", USERS.read_text(), re.MULTILINE)
    return str(line)


def granted(user: str) -> set[str]:
    """The commands that the file lets a user send, as `script|load`; in a selector, on some keys only."""
    words = re.split(r"[\s()]+", line_of(user))
    return {word.removeprefix("+") for word in words if word.startswith("+")}


def rights_on_a_cluster() -> str:
    """What the manual adds to the rights of each user."""
    manual = (USERS.parent / "redis.md").read_text()
    (extra,) = re.findall(r"\*\*Cluster\.\*\* Each user also needs `(.*?)`", manual)
    return str(extra)
