"""
The Lua scripts, and the one place that sends a command again.

A script is atomic, but Redis does not roll back what a script wrote before it failed. So each script reads all that it
needs before it writes, and leaves alone a record that it cannot read (see `lua/_prelude.lua`). Each is written to be
sent twice: the second time it changes nothing and gives the same answer. So whatever goes wrong on the way (a cut
connection, a late answer, a failover), sending again is right, until the caller's time is over.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from math import inf
from typing import Any, NamedTuple
from uuid import uuid4

from redis.exceptions import (
    AuthenticationError,
    DataError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from sharded_queue.backends.redis.link import Link, NotYet
from sharded_queue.errors import OtherFormat, QueueFull, StorageUnavailable, UnreadableData
from sharded_queue.lease import Lease
from sharded_queue.settings import settings
from sharded_queue.storage import Batch
from sharded_queue.tube import Tube

COMMENT, NAME, RARE = re.compile(r"--.*"), re.compile(r"\w+"), re.compile(r"rarely\(\)\.(\w+)")
STATEMENT, DEFINED = re.compile(r"^(?=local )", re.MULTILINE), re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
FUNCTION = "local function "
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 1.0
STANDSTILL_SECONDS = 1.0
"""A try that takes longer than its time-out plus this was held up by the event loop itself."""
TRANSIENT_ERRORS = (
    "LOADING",
    "READONLY",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MASTERDOWN",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
    "UNBLOCKED",
)
KINDS = {"hash": "hash", "zset": "sorted set", "list": "list", "string": "text", "layout": "layout"}
UNREADABLE = ("WRONGTYPE", "GARBAGE")
"""How the errors of a script begin that met a key with another kind of value, or unreadable data that it needs."""


OTHER_FORMAT = re.compile(r"FORMAT (\d+) (\d+) (.*?)(?:,? script: .*)?$", re.DOTALL)
"""The error of `check_format` in the scripts: the format of the data, that of this release, and the keys."""


class Statement(NamedTuple):
    """What a text of Lua defines, and the names in it: those called by `rarely()`, and the others."""

    text: str
    defined: frozenset[str]
    named: frozenset[str]
    rare: frozenset[str]


def _statement(text: str) -> Statement:
    defined = DEFINED.match(text)
    return Statement(
        text,
        frozenset(NAME.findall(defined[1])) if defined else frozenset(),
        frozenset(NAME.findall(RARE.sub("rarely", text))),
        frozenset(RARE.findall(text)),
    )


@cache
def _prelude() -> list[Statement]:
    text = (files("sharded_queue.backends.redis") / "lua" / "_prelude.lua").read_text("utf-8")
    _, *statements = STATEMENT.split(COMMENT.sub("", text))
    return [_statement(statement) for statement in statements]


@cache
def source(name: str) -> str:
    """
    A script's text: its own first line (which sets its flags), what it needs of the prelude, and its body.

    Functions and body are inside a function of their own, and the values that they use outside of it. For each variable
    that a new function captures from the scope around it, Lua searches a list of all variables captured there before;
    what the enclosing function has captured already needs no search.
    """
    folder = files("sharded_queue.backends.redis") / "lua"
    flags, _, body = (folder / f"{name}.lua").read_text("utf-8").partition("\n")
    values, functions = _needed(_statement(COMMENT.sub("", body)))
    return "\n".join([flags, *values, "return (function()\n", *functions, body, "end)()\n"])


def _needed(body: Statement) -> tuple[list[str], list[str]]:
    """
    The statements of the prelude that *body* needs, values and functions: Redis runs a whole script at every call, and
    creating functions that are not called took longer than the work of most scripts. So what is needed only by way of
    `rarely()` is created by the function `make_rare`, in the calls that need it.
    """
    usual = _reached(body.named)
    called = body.rare.union(*[statement.rare for statement in usual])
    values = [statement.text for statement in usual if not statement.text.startswith(FUNCTION)]
    functions = [statement.text for statement in usual if statement.text.startswith(FUNCTION)]
    if not called:
        return values, functions
    seldom = [statement for statement in _reached(called, with_rare=True) if statement not in usual]
    called = called.union(*[statement.rare for statement in seldom])
    table = ", ".join(f"{name} = {name}" for name in sorted(called))
    rare = [statement.text for statement in seldom]
    return values, [*functions, "make_rare = function()\n", *rare, f"return {{ {table} }}\nend\n"]


def _reached(named: frozenset[str], with_rare: bool = False) -> list[Statement]:
    """What of the prelude defines what is *named*, and what that names in turn; *with_rare*: also by `rarely()`."""
    reached: list[Statement] = []
    while len(found := [statement for statement in _prelude() if statement.defined & named]) > len(reached):
        reached = found
        named = named.union(*[one.named | one.rare if with_rare else one.named for one in found])
    return reached


@cache
def digest(name: str) -> str:
    return sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Caller:
    """A series of numbered calls, at most one under way, by which Redis recognises one that comes again, or late."""

    __slots__ = ("call", "name")

    def __init__(self) -> None:
        self.name, self.call = uuid4().hex, 0

    def key(self, base: str) -> str:
        """The key that holds the number of the last call, and its answer."""
        return f"{base}:{self.name}:caller"


class Scripts:
    """Runs scripts on a `Link`, and sends them again until an answer arrives or the time is over."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._idle_callers: list[Caller] = []
        self._loaded: set[str] = set()

    async def run(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Any] | Callable[[bool], Sequence[Any]],
        *,
        seconds: float | None = None,
    ) -> Any:
        """
        The answer of script *name*. *arguments*: what it is called with, or a function of "is it sent again?" that
        returns it. *seconds* bounds all tries (None: for ever).

        Raises:
            QueueFull: Redis is at its memory limit and the script writes.
            StorageUnavailable: no usable answer within *seconds*; the script may have been carried out.
            UnreadableData: a key of the shard holds data that are not ours.
        """

        async def attempt(is_resent: bool) -> Any:
            return await self.call(name, keys, arguments(is_resent) if callable(arguments) else arguments)

        return await self.retry(attempt, seconds)

    async def run_long(self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, seconds: float) -> Any:
        """
        As `run`, for a script that reads the whole shard: its answer may take *seconds*. Sending it again while Redis
        runs it would only double the work.
        """

        async def attempt(_: bool) -> Any:
            return await self.call(name, keys, arguments, seconds)

        return await self.retry(attempt, seconds, seconds)

    async def run_once(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, seconds: float, is_long: bool = False
    ) -> Any:
        """
        As `run` (or `run_long`), for a script that keeps its answer for some minutes: sent again, it gives the first
        answer; and a call that arrives late, after newer calls were answered, changes nothing.
        """
        caller = self._idle_callers.pop() if self._idle_callers else Caller()
        caller.call += 1
        keys, arguments = [*keys, caller.key(keys[0])], [caller.call, *arguments]
        if is_long:
            answer = await self.run_long(name, keys, arguments, seconds=seconds)
        else:
            answer = await self.run(name, keys, arguments, seconds=seconds)
        self._idle_callers.append(caller)  # not after an error: its call may still be under way
        return answer

    async def retry(
        self, attempt: Callable[[bool], Awaitable[Any]], seconds: float | None, try_seconds: float | None = None
    ) -> Any:
        """As `retry`; if nothing ever answered, the error also says what the other side speaks."""
        try:
            return await retry(attempt, seconds, try_seconds)
        except StorageUnavailable as error:
            if said := await self.link.wrong_protocol():
                raise StorageUnavailable(f"{error}; {said}", is_uncertain=error.is_uncertain) from error.__cause__
            raise

    async def ask(self, key: str, *command: Any, seconds: float) -> Any:
        """The answer to a command that changes nothing, with the retries and errors of `run`."""

        async def attempt(_: bool) -> Any:
            return await self.link.send(key, *command, seconds=settings.redis_timeout)

        return await self.retry(attempt, seconds)

    async def ask_all(self, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers to several such commands in one round trip, without retries."""
        answers = await self.link.send_all(key, commands, seconds=settings.redis_timeout)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def run_all(
        self, name: str, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]], *, seconds: float
    ) -> list[Any]:
        """The answers of a reading script, called once for each (key, keys, arguments), in one round trip."""

        async def ask(key: str, group: Sequence[Any]) -> list[Any]:
            commands = [("EVALSHA", digest(name), len(keys), *keys, *arguments) for _, keys, arguments in group]
            return await self._send_all(name, key, commands)

        async def attempt(_: bool) -> list[Any]:
            parts = await asyncio.gather(*[ask(key, group) for key, group in self._by_node(calls)])
            return [answer for part in parts for answer in part]

        return list(await self.retry(attempt, seconds))

    def _by_node(self, calls: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
        """On a Cluster each shard may be on another node, so each gets its own request; elsewhere all share one."""
        if self.link.is_cluster:
            return [(call[0], [call]) for call in calls]
        return [(calls[0][0], calls)] if calls else []

    async def _send_all(self, name: str, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            return await self._ask_loaded(name, key, commands)
        except ResponseError as error:
            await self._explain(error, [command[3:5] for command in commands])
            raise

    async def _ask_loaded(self, name: str, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            return await self.ask_all(key, commands)
        except NoScriptError:
            await self.load(name, key)
            return await self.ask_all(key, commands)

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Any], seconds: float | None = None) -> Any:
        """
        One try of `run`: the answer within *seconds* (by default `settings.redis_timeout`).

        Raises:
            RedisError, OSError, TimeoutError: as `Link.send`.
        """
        command, seconds = ("EVALSHA", digest(name), len(keys), *keys, *arguments), seconds or settings.redis_timeout
        try:
            return await self._send(name, keys, command, seconds)
        except ResponseError as error:
            if name != "kinds":
                await self._explain(error, [keys[:2]])
            raise

    async def _send(self, name: str, keys: Sequence[str], command: Sequence[Any], seconds: float) -> Any:
        try:
            return await self.link.send(keys[0], *command, seconds=seconds)
        except NoScriptError:  # not carried out: loading it and sending it again runs it once
            await self.load(name, keys[0])
            return await self.link.send(keys[0], *command, seconds=seconds)

    async def _explain(self, error: Exception, shards: Sequence[Sequence[str]]) -> None:
        """
        Raises:
            UnreadableData: by *error*, a key of one of *shards* holds data that are not ours; the message names the key
                and the remedy.
        """
        if str(error).startswith(UNREADABLE):
            wrong = [sentence for keys in shards for sentence in await self.wrong_kinds(keys)]
            raise UnreadableData("; ".join(wrong) or f"Redis refused: {error}") from error

    async def wrong_kinds(self, keys: Sequence[str]) -> list[str]:
        """A sentence for each key of a shard that holds data that are not ours."""
        found = await self.call("kinds", keys, [])
        return [remedy(key.decode(errors="backslashreplace"), kind.decode()) for key, kind in found]

    async def make_sure_of(self, name: str, key: str) -> None:
        """Load a script, unless that was done before. On a Cluster another node may keep the key by now."""
        if self.link.is_cluster or name not in self._loaded:
            await self.load(name, key)

    async def load(self, name: str, key: str) -> None:
        await self.link.send(key, "SCRIPT", "LOAD", source(name), seconds=settings.redis_timeout)
        self._loaded.add(name)


async def retry(
    attempt: Callable[[bool], Awaitable[Any]], seconds: float | None, try_seconds: float | None = None
) -> Any:
    """
    Call *attempt* until it succeeds or fails for good, with growing pauses; its argument says whether it is a retry.

    After the event loop stood still there is one more try, whatever the time, because the answer may have been waiting
    unread. *try_seconds*: the time-out of one try, `settings.redis_timeout` by default.

    Raises:
        QueueFull, StorageUnavailable: see `Scripts.run`.
    """
    clock, longest = asyncio.get_running_loop().time, try_seconds or settings.redis_timeout
    deadline = inf if seconds is None else clock() + seconds
    pause, is_resent, is_last = PAUSE_SECONDS, False, False
    while True:
        began = clock()
        try:
            return await attempt(is_resent)
        except (RedisError, OSError, TimeoutError) as error:
            # A retry may follow a try that was carried out, so "nothing was written" could be false.
            if isinstance(error, OutOfMemoryError) and not is_resent:
                raise QueueFull(f"Redis is at its memory limit and refuses new requests: {error}") from error
            if not is_transient(error):
                raise _rejected(error, is_uncertain=is_resent) from error
            is_resent = is_resent or not isinstance(error, NotYet)
            is_over, stood_still = clock() + pause > deadline, clock() - began > longest + STANDSTILL_SECONDS
            if is_over and (is_last or not stood_still):
                what = "Redis refused for" if isinstance(error, NotYet) else "no answer of Redis in"
                reason = str(error) or type(error).__name__
                raise StorageUnavailable(f"{what} {seconds:g} s: {reason}", is_uncertain=is_resent) from error
            is_last = is_over
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads retries, no secret
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def is_transient(error: Exception) -> bool:
    """Whether the same command may succeed later: anything but what the server refuses for good."""
    if isinstance(error, AuthenticationError | NoPermissionError | DataError):
        return False
    return type(error) is not ResponseError or str(error).startswith(TRANSIENT_ERRORS)


def _rejected(error: Exception, *, is_uncertain: bool) -> StorageUnavailable:
    kind = OtherFormat if OTHER_FORMAT.match(str(error)) else StorageUnavailable
    return kind(rejection_message(error), is_uncertain=is_uncertain)


def rejection_message(error: Exception) -> str:
    if other := OTHER_FORMAT.match(str(error)):
        found, own, key = other.groups()
        return (
            f"the data of {key} in Redis are of format {found}, and this release of sharded-queue reads and writes "
            f"format {own}; use the release that wrote them, or let it drain the queue first"
        )
    if isinstance(error, NoPermissionError) or "The user executing the script" in str(error):
        return f"Redis refused: {error}; what the users of each part of the work may do: see docs/redis.md"
    return f"Redis refused: {error}"


def remedy(key: str, kind: str) -> str:
    """The fault of a *key* that does not hold our *kind* of value, and what to do about it."""
    handler = key.partition("{")[2].partition("}")[0].partition(":")[0]
    cure = f"`sharded-queue check {handler} --repair` removes it, and makes anew what the tubes tell"
    if key.endswith(":layout"):
        cure = (
            f"`sharded-queue check {handler} --repair` removes it unless threads of a layout are there: then write "
            '"NUMBER THREADS 0" into it, the number that these threads begin with and how many the handler has'
        )
    return f"the key {key} holds no {KINDS[kind]}; {cure}"


def is_of_other_kind(error: StorageUnavailable) -> bool:
    """Whether a command was refused because its key holds another kind of value."""
    return str(error.__cause__).startswith(UNREADABLE)


def grouped(flat: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The parts of a flat answer, each of *size* values."""
    return (flat[at : at + size] for at in range(0, len(flat), size))


def batch_of(lease: Lease, handed: Sequence[Any]) -> Batch:
    """A batch from what `hand_out` of the scripts returns: priority, first, attempt, messages."""
    priority, first, attempt, messages = handed
    crashes = 0
    if isinstance(attempt, bytes):
        crashes, attempt = map(int, attempt.split())
    return Batch(lease, Tube(lease.shard, lease.thread, int(priority)), first, messages, attempt, crashes)


def text_of(name: bytes) -> str:
    """A name as text; threads whose names are not UTF-8 are never handed out."""
    return name.decode(errors="backslashreplace")
