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
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from sharded_queue.admin.acts import Right
from sharded_queue.errors import SettingsError
from sharded_queue.printable import printable
from sharded_queue.web.waiting_room import Busy, WaitingRoom

log = logging.getLogger("sharded_queue.web")

Role = Right
ROLES: tuple[Role, ...] = get_args(Role)

COST, BLOCK, LANES = 2**14, 8, 1
"""Of scrypt: a guess takes 16 MiB and some 50 ms."""
CHECKS_AT_ONCE, MOST_CHECKS = 2, 64
"""Guesses that are compared at once, and those that also wait for it: 1.6 s for the last one."""
ADDRESS_AT_ONCE, MOST_OF_ADDRESS = 16, 32
PAIR_AT_ONCE, MOST_OF_PAIR = 1, 4
"""
The same of one address, and of one name from one address. Who tries many secrets for a name keeps neither others at
that address waiting, nor that person at another one; who tries many names leaves room for other addresses.
"""
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
    """
    The users of a file, as it is now. While it is gone or cannot be read, those stay that it had before, and *fault*
    says what is wrong.

    Raises:
        SettingsError: it cannot be read at the start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.fault = path, ""
        self._version = self._version_now()
        self._users = self._read()

    def users(self) -> Mapping[str, User]:
        version = self._version_now()
        if version != self._version:
            self._version = version
            try:
                self._users = self._read()
                self._note("")
            except SettingsError as error:
                self._note(str(error))
        return self._users

    def _version_now(self) -> tuple[int, ...] | None:
        """What changes with the content; None while there is no file."""
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def _read(self) -> dict[str, User]:
        try:
            return users_in(self.path.read_text(), printable(self.path))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the users in {printable(self.path)} cannot be read: {error}") from error

    def _note(self, fault: str) -> None:
        if fault:
            log.error("%s; the users that it had before stay", fault)
        elif self.fault:
            log.info("the users in %s can be read again", self.path)
        self.fault = fault


RoleOf = Callable[[str], Role | None]


class Unknown(Exception):
    """Nobody whom this console knows. *name*: who it says it is; empty where it says nothing, as browsers at first."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


class Checks:
    """Compares secrets. Each takes an OS thread and some 50 ms, so there is a bound on those that are asked for."""

    def __init__(self) -> None:
        self.all = WaitingRoom(CHECKS_AT_ONCE, MOST_CHECKS)
        self._addresses = WaitingRoom(ADDRESS_AT_ONCE, MOST_OF_ADDRESS)
        self._pairs = WaitingRoom(PAIR_AT_ONCE, MOST_OF_PAIR)

    def __len__(self) -> int:
        """Secrets that are compared now or wait for it."""
        return len(self._pairs)

    async def fit(self, name: str, address: str, secret: str, digest: str) -> bool:
        """
        Raises:
            Busy: too many wait already.
        """
        async with self._pairs.enter((name, address)), self._addresses.enter(address), self.all.enter():
            return await asyncio.to_thread(fits, secret, digest)


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
        self.checks = Checks()
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, str] = {}
        """Secrets that were right, by their keyed hashes: browsers send them with every request."""
        self._checking: dict[tuple[bytes, str], asyncio.Future[bool]] = {}
        """A browser that opens many pages at once sends one secret many times: it is compared once."""

    @property
    def fault(self) -> str:
        """What is wrong with the file of users, whose last good content stays."""
        return self.file.fault if self.file else ""

    @property
    def are_known(self) -> bool:
        """Whether persons are told apart."""
        return self.file is not None or self.header is not None

    async def who(self, headers: Mapping[str, str], address: str) -> Person:
        """
        The person who asks, from an address.

        Raises:
            Unknown: nobody whom this console knows.
            Busy: too many secrets are compared already.
        """
        if not self.are_known:
            return Person("anybody", "admin")
        if self.header and (name := headers.get(self.header, "").strip()):
            return self._person(name[:LONGEST_NAME], self.default)
        return self._person(await self._by_secret(headers.get("authorization", ""), address), None)

    def _person(self, name: str, default: Role | None) -> Person:
        if self.role_of:
            role = self.role_of(name)
        else:
            user = self.file.users().get(name) if self.file else None
            role = user.role if user else default
        if role not in ROLES:
            raise Unknown("no role", name)
        return Person(name, role)

    async def _by_secret(self, authorization: str, address: str) -> str:
        found = credentials(authorization)
        if found is None or self.file is None:
            raise Unknown("no readable name", "?" * bool(authorization))
        name, secret = found
        user = self.file.users().get(name)
        digest = user.digest if user and user.digest else NOBODY
        mark = hmac.digest(self._key, f"{digest} {name} {secret}".encode(), "sha256")
        if self._remembered.get(mark) == name:
            return name
        is_right = await self._check(mark, name, address, secret, digest)
        if digest is NOBODY:
            raise Unknown("no such user", name)
        if not is_right:
            raise Unknown("wrong secret", name)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[mark] = name
        return name

    async def _check(self, mark: bytes, name: str, address: str, secret: str, digest: str) -> bool:
        check = self._checking.get((mark, address))
        if check is None:
            check = asyncio.ensure_future(self.checks.fit(name, address, secret, digest))
            self._checking[mark, address] = check
            check.add_done_callback(lambda _: self._checking.pop((mark, address)))
        try:
            return await asyncio.shield(check)
        except Busy as error:
            raise Busy(name) from error


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
