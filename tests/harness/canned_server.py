"""Servers that are no Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GARBAGE = (
    b"",
    b"\x00\xff" * 100,
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"+OK\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"$999999999\r\nabc",
    b"*1\r\n" * 5_000,
    b"-NOAUTH Authentication required.\r\n",
    b"-MOVED 1 127.0.0.1:1\r\n",
    b"*2\r\n$1\r\na\r\n*1\r\n:9223372036854775808\r\n",
)
"""What they may say to everything."""


class CannedServer(asyncio.Protocol):
    """Says the same to whatever it hears."""

    def __init__(self, answer: bytes, transports: list[asyncio.WriteTransport]) -> None:
        self.answer, self.transports = answer, transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The address of one."""
    transports: list[asyncio.WriteTransport] = []
    server = await asyncio.get_running_loop().create_server(lambda: CannedServer(answer, transports), "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for transport in transports:
            transport.abort()
