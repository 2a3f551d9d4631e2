"""
Proxies in front of a redis-server. One cuts the connection at a chosen command, one holds commands back, one counts
round trips.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, Self

from hiredis import Reader

Cut = Literal["before it arrives", "half way to Redis", "before its answer", "half way through its answer"]
CUTS: tuple[Cut, ...] = ("before it arrives", "half way to Redis", "before its answer", "half way through its answer")

INCOMPLETE = object()
"""What a reader says while no whole message is there: its default, False, equals the answer 0."""


class Proxy:
    """
    Stands between clients and the redis-server at *redis_port*. `_pass_all` decides what passes. *at*: its own port, a
    free one by default.
    """

    def __init__(self, redis_port: int, at: int = 0, host: str = "127.0.0.1") -> None:
        self._redis_port, self._at, self._host = redis_port, at, host
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._at)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, commands: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection; it ends on both sides at once."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        answers, redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_all(commands, redis, answers, client)
        finally:
            for writer in (client, redis):
                writer.transport.abort()
            self._tasks.discard(task)

    async def _pass_all(
        self,
        commands: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        raise NotImplementedError


class CuttingProxy(Proxy):
    """
    Passes everything on, but cuts the connection at the command number *cut_at* (from 0), counted over all connections.

    What a client writes at once counts as one command, because a link sends each command in one write.
    """

    def __init__(self, redis_port: int, cut_at: int | None = None, cut: Cut = "before it arrives") -> None:
        super().__init__(redis_port)
        self._cut_at, self._cut = cut_at, cut
        self.commands = 0
        self.has_cut = False

    async def _pass_all(
        self,
        commands: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        is_silent = asyncio.Event()
        answering = asyncio.create_task(self._pass_answers(answers, client, is_silent))
        try:
            await self._pass_commands(commands, redis, is_silent, answering)
        finally:
            answering.cancel()

    async def _pass_commands(
        self,
        client: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
        is_silent: asyncio.Event,
        answering: "asyncio.Task[None]",
    ) -> None:
        while command := await client.read(1 << 20):
            number, self.commands = self.commands, self.commands + 1
            if number != self._cut_at:
                redis.write(command)
                continue
            self.has_cut = True
            if self._cut == "before it arrives":
                return
            if self._cut == "half way to Redis":
                redis.write(command[: len(command) // 2])
                await redis.drain()
                return
            is_silent.set()
            redis.write(command)
            await answering
            return

    async def _pass_answers(
        self, redis: asyncio.StreamReader, client: asyncio.StreamWriter, is_silent: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while answer := await redis.read(1 << 20):
                if is_silent.is_set():
                    if self._cut == "half way through its answer":
                        client.write(answer[: max(1, len(answer) // 2)])
                        await client.drain()
                    return
                client.write(answer)


class GatedProxy(Proxy):
    """Passes on what clients write once *gate* has returned, which is called with it; and all answers at once."""

    def __init__(self, redis_port: int, gate: Callable[[bytes], Awaitable[None]]) -> None:
        super().__init__(redis_port)
        self._gate = gate

    async def _pass_all(
        self,
        commands: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        answering = asyncio.create_task(self._pass_answers(answers, client))
        try:
            while command := await commands.read(1 << 20):
                await self._gate(command)
                redis.write(command)
        finally:
            answering.cancel()

    async def _pass_answers(self, redis: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answer := await redis.read(1 << 20):
                client.write(answer)


class CountingProxy(Proxy):
    """
    Passes everything on and counts round trips: a command begins one when no answer is due on its connection, so that
    commands of one pipeline are one, however many reads they come in.
    """

    trips = 0

    async def _pass_all(
        self,
        commands: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        due = Due()
        answering = asyncio.create_task(self._pass(answers, client, due.answered))
        try:
            await self._pass(commands, redis, lambda sent: self._count(due, sent))
        finally:
            answering.cancel()

    def _count(self, due: "Due", commands: Sequence[Any]) -> None:
        self.trips += bool(commands) and due.answers == 0
        due.answers += len(commands)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[Sequence[Any]], None]
    ) -> None:
        messages = Reader(notEnoughData=INCOMPLETE)
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(1 << 20):
                messages.feed(data)
                note(list(iter(messages.gets, INCOMPLETE)))
                writer.write(data)


class Due:
    """The number of answers that a connection waits for. Published messages are not answers."""

    answers = 0

    def answered(self, answers: Sequence[Any]) -> None:
        self.answers = max(0, self.answers - len(answers))


class LookProxy(CountingProxy):
    """
    Counts round trips until the first command that has *word*, the first look of a worker, and calls *found* before it
    passes that on.
    """

    def __init__(self, redis_port: int, word: bytes, found: Callable[[], object] = list) -> None:
        super().__init__(redis_port)
        self._word, self._found = word, found
        self.commands: list[bytes] = []
        """The names of the commands until then."""
        self.has_looked = asyncio.Event()

    def _count(self, due: "Due", commands: Sequence[Any]) -> None:
        if self.has_looked.is_set():
            return
        super()._count(due, commands)
        self.commands += [command[0] for command in commands]
        if any(self._word in command for command in commands):
            self._found()
            self.has_looked.set()
