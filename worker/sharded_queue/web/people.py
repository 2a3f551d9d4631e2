"""
Who looks at the console, and what each may do.

A file of users has a line each: a name, a role, and what `sharded-queue web --hash-secret` made of the secret; nothing
of a secret where a proxy says who somebody is. The file is read again when it changes.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from sharded_queue.errors import SettingsError
from sharded_queue.printable import printable

Role = Literal["viewer", "operator", "admin"]
"""A viewer looks; an operator also pauses, resumes, replays and cancels; an admin also drops, removes and reshards."""
ROLES: tuple[Role, ...] = get_args(Role)

COST, BLOCK, LANES = 2**14, 8, 1
"""Of scrypt: a guess takes 16 MiB and some 50 ms."""
CHECKS_AT_ONCE = 2
MOST_REMEMBERED = 1000
LONGEST_NAME = 200


class Person(NamedTuple):
    name: str
    role: Role

    def is_at_least(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class User(NamedTuple):
    """*digest* is empty for somebody whom a proxy names."""

    role: Role
    digest: str = ""


def digest_of(secret: str) -> str:
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt(secret.encode(), salt=salt, n=COST, r=BLOCK, p=LANES)
    return f"scrypt:{salt.hex()}:{made.hex()}"


NOBODY = digest_of(secrets.token_hex())
"""What the secret of an unknown name is compared with, so that it takes as long as that of a known one."""


def fits(secret: str, digest: str) -> bool:
    _, salt, made = digest.split(":")
    found = hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=COST, r=BLOCK, p=LANES)
    return hmac.compare_digest(found, bytes.fromhex(made))


def users_in(text: str, file: str) -> dict[str, User]:
    """
    Raises:
        SettingsError: a line is not a user.
    """
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, role, *rest = [*line.split(), ""]
        if role not in ROLES or len(rest) > 2 or (rest[0] and not is_digest(rest[0])):
            raise SettingsError(
                f"line {number} of {file} must be NAME ROLE HASH, with a role of {', '.join(ROLES)} and a hash that "
                "`sharded-queue web --hash-secret` printed; the hash is left out for somebody whom a proxy names"
            )
        users[name] = User(role, rest[0])
    return users


def is_digest(text: str) -> bool:
    kind, *parts = text.split(":")
    try:
        return kind == "scrypt" and list(map(len, map(bytes.fromhex, parts))) == [16, 64]
    except ValueError:
        return False


class UserFile:
    """The users of a file, as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_of: tuple[int, int] | None = None
        self._users: dict[str, User] = {}
        self.users()

    def users(self) -> Mapping[str, User]:
        """
        Raises:
            SettingsError: the file cannot be read, or a line is not a user.
        """
        try:
            state = self.path.stat()
            if self._read_of != (state.st_mtime_ns, state.st_size):
                self._users = users_in(self.path.read_text(), printable(self.path))
                self._read_of = (state.st_mtime_ns, state.st_size)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the users in {printable(self.path)} cannot be read: {error}") from error
        return self._users


RoleOf = Callable[[str], Role | None]


class People:
    """
    Finds out who asks. *header*: a proxy that is trusted says it there. *role_of*: a function of the user's own.
    Without any of them, everybody who reaches the console is the same person.
    """

    def __init__(
        self,
        users: UserFile | None = None,
        header: str | None = None,
        role_of: RoleOf | None = None,
        default: Role | None = "viewer",
    ) -> None:
        self.file, self.header, self.role_of, self.default = users, header, role_of, default
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, str] = {}
        """Secrets that were right, by their keyed hashes: browsers send them with every request."""

    @property
    def are_known(self) -> bool:
        """Whether persons are told apart."""
        return self.file is not None or self.header is not None

    async def who(self, headers: Mapping[str, str]) -> Person | None:
        """None: nobody whom this console knows."""
        if not self.are_known:
            return Person("anybody", "admin")
        if self.header and (name := headers.get(self.header, "").strip()):
            return self._person(name[:LONGEST_NAME], self.default)
        known = await self._by_secret(headers.get("authorization", ""))
        return self._person(known, None) if known else None

    def _person(self, name: str, default: Role | None) -> Person | None:
        if self.role_of:
            role = self.role_of(name)
        else:
            user = self.file.users().get(name) if self.file else None
            role = user.role if user else default
        return Person(name, role) if role in ROLES else None

    async def _by_secret(self, authorization: str) -> str | None:
        found = credentials(authorization)
        if found is None or self.file is None:
            return None
        name, secret = found
        user = self.file.users().get(name)
        digest = user.digest if user and user.digest else NOBODY
        mark = hmac.digest(self._key, f"{digest} {name} {secret}".encode(), "sha256")
        if self._remembered.get(mark) == name:
            return name
        async with self._checks:
            is_right = await asyncio.to_thread(fits, secret, digest)
        if not (is_right and user and user.digest):
            return None
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[mark] = name
        return name


def credentials(authorization: str) -> tuple[str, str] | None:
    """The name and the secret of `Basic …`, or of `Bearer NAME:SECRET`."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            rest = base64.b64decode(rest.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif scheme.lower() != "bearer":
        return None
    name, colon, secret = rest.partition(":")
    return (name, secret) if colon and name else None
