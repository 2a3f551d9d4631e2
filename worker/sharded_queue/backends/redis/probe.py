"""What a port seems to speak, for the error of a connection that could not be made."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

PROBE_SECONDS = 1.0


async def find_plain(addresses: Sequence[tuple[str, int]]) -> str | None:
    """The first of *addresses* that speaks Redis without TLS; None if none does within a second."""
    return await _find(addresses, _answers)


async def find_tls(addresses: Sequence[tuple[str, int]]) -> str | None:
    """The first of *addresses* that speaks TLS; None if none does within a second."""
    return await _find(addresses, _shakes_hands)


async def _find(addresses: Sequence[tuple[str, int]], speaks: Callable[[str, int], Awaitable[bool]]) -> str | None:
    answers = await asyncio.gather(*[speaks(host, port) for host, port in addresses])
    return next((f"{host}:{port}" for (host, port), is_so in zip(addresses, answers, strict=True) if is_so), None)


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in (b"+", b"-")  # an error too, such as NOAUTH
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


async def _shakes_hands(host: str, port: int) -> bool:
    """Whom the certificate is for does not matter here: nothing is sent."""
    any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    any_certificate.check_hostname, any_certificate.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=any_certificate)
            writer.transport.abort()
            return True
    except (OSError, TimeoutError):
        return False
