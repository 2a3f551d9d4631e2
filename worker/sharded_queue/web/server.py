"""The console's HTTP server: uvicorn, with the bounds of all our ports, which hold before anybody signs in."""

import asyncio
import logging
import socket
from time import monotonic
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sharded_queue.monitoring.bounds import (
    ACCEPTED_AT_ONCE,
    ANSWER_SECONDS,
    BODY_SECONDS,
    HEAD_BYTES,
    HEAD_SECONDS,
    KERNEL_QUEUE,
    Connections,
    FewMessages,
)

CONNECTIONS = 192
"""Open connections: 128 live pages and 64 others. With what is accepted beyond it, below 256 descriptors."""
FEW_MESSAGES = FewMessages()


class Connection(H11Protocol):
    """uvicorn's connection, which ends when its client owes a head or a body for too long, or does not read."""

    open: Connections["Connection"]
    """Set by `server_of`, for all connections of one server."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = monotonic()
        self._owes: object = None
        self._asked: asyncio.TimerHandle | None = None
        self._read: asyncio.TimerHandle | None = None
        self.open.admit(self)
        self._watch()

    @property
    def rank(self) -> int:
        if self._owes is not None:
            return 0
        return 2 if self.cycle and self.cycle.response_started else 1

    def abort(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.forget(self)
        for timer in (self._asked, self._read):
            if timer:
                timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        """Start the time of what the client owes now, when it begins to owe it."""
        state = self.conn.their_state
        owes = state if state in (h11.IDLE, h11.SEND_BODY, h11.ERROR) else None
        if owes is self._owes:
            return
        self._owes, self.since = owes, monotonic()
        if self._asked:
            self._asked.cancel()
        self._asked = self.loop.call_later(self._seconds(), self.abort) if owes else None

    def _seconds(self) -> float:
        if self._owes is h11.SEND_BODY:
            return BODY_SECONDS
        return ANSWER_SECONDS if self.transport.get_write_buffer_size() else HEAD_SECONDS

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read = self.loop.call_later(ANSWER_SECONDS, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read:
            self._read.cancel()


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or []:
            bound.listen(KERNEL_QUEUE)  # asyncio has one number for both


def server_of(application: Any, **options: Any) -> Server:
    """A server of its own connections, `CONNECTIONS` at most."""
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(FEW_MESSAGES)

    class Own(Connection):
        open = Connections(CONNECTIONS)

    config = uvicorn.Config(
        application,
        http=Own,
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=int(HEAD_SECONDS),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would believe every process of this machine: see `Proxied`
        **options,
    )
    return Server(config)
