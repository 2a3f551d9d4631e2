"""What proxies in front of the console say of a request, and which of them are believed."""

import logging
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from sharded_queue.errors import SettingsError
from sharded_queue.web.headers import Application, Scope

log = logging.getLogger("sharded_queue.web")

Address = IPv4Address | IPv6Address
MOST_NAMED = 100
"""Addresses that are named in the log because nobody believes their header."""
ELEMENT = re.compile(r'(?:^|[;,])\s*(for|proto)\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
"""A pair of the header `Forwarded`."""


class Proxies:
    """The addresses and networks whose word on a request is believed."""

    def __init__(self, *trusted: str) -> None:
        """
        Raises:
            SettingsError: one of *trusted* is neither an address nor a network.
        """
        self.networks: Sequence[IPv4Network | IPv6Network] = [network_of(text) for text in trusted]

    @property
    def are_everybody(self) -> bool:
        return any(network.prefixlen == 0 for network in self.networks)

    def trust(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)

    def client_of(self, proxy: Address, headers: Headers) -> Address:
        """
        The address for which *proxy* asks: the last one of its chain that is no proxy itself. The two ways to say it
        must agree: of the one that a proxy does not write, it passes on what its client wrote.
        """
        chains = [chain for chain in (forwarded_for(headers), forwarded(headers, "for")) if chain]
        found = {self._last_of(chain) for chain in chains}
        return found.pop() or proxy if len(found) == 1 else proxy

    def _last_of(self, chain: Sequence[str]) -> Address | None:
        last = None
        for text in reversed(chain):
            address = address_of(text)
            if address is None:
                break
            last = address
            if self.are_everybody or not self.trust(address):  # where all are believed, only the nearest says so itself
                break
        return last


def network_of(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"a trusted proxy is an address or a network, such as 10.0.0.7 or 10.0.0.0/8: {error}"
        ) from None


def address_of(text: str) -> Address | None:
    """Of `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`."""
    bare = re.sub(r"^\[([^\]]*)\](:\d+)?$|^([^:]*):\d+$", r"\1\3", text.strip().strip('"'))
    try:
        found = ip_address(bare)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def forwarded_for(headers: Headers) -> list[str]:
    """The addresses of `X-Forwarded-For`, the nearest last."""
    return [text for value in headers.getlist("x-forwarded-for") for text in value.split(",")]


def forwarded(headers: Headers, name: str) -> list[str]:
    """The values of *name* in `Forwarded`, the nearest last."""
    pairs = [pair for value in headers.getlist("forwarded") for pair in ELEMENT.findall(value)]
    return [value.strip('"') for key, value in pairs if key.lower() == name]


def is_encrypted(headers: Headers) -> bool:
    """Whether all that a trusted proxy says of the scheme is `https`."""
    schemes = [text for value in headers.getlist("x-forwarded-proto") for text in value.split(",")]
    return {text.strip().lower() for text in (*schemes, *forwarded(headers, "proto"))} == {"https"}


class Proxied:
    """
    Gives the application the client and the scheme of each request as its proxy says them, if that proxy is trusted.
    From anybody else the *header* that names a person is taken away.
    """

    def __init__(self, app: Application, proxies: Proxies, header: str | None) -> None:
        self.app, self.proxies, self.header = app, proxies, header
        self._named: set[Address | None] = set()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, peer = Headers(scope=scope), address_of((scope.get("client") or ("",))[0])
        if self.header and len(headers.getlist(self.header)) > 1:
            answer = PlainTextResponse(f"The header {self.header} names two persons: the proxy must replace it.\n", 400)
            await answer(scope, receive, send)
            return
        if self.proxies.trust(peer):
            assert peer is not None
            scope = {**scope, "client": (str(self.proxies.client_of(peer, headers)), 0)}
            scope["scheme"] = "https" if is_encrypted(headers) else scope["scheme"]
        else:
            scope = self._without_person(scope, peer)
        await self.app(scope, receive, send)

    def _without_person(self, scope: Scope, peer: Address | None) -> Scope:
        if not self.header or self.header not in Headers(scope=scope):
            return scope
        if peer not in self._named and len(self._named) < MOST_NAMED:
            self._named.add(peer)
            log.warning("%s is no trusted proxy: its header %s is not believed", peer, self.header)
        headers = MutableHeaders(raw=list(scope["headers"]))
        del headers[self.header]
        return {**scope, "headers": headers.raw}
