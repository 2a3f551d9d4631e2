"""
A URL of Redis, taken apart into what options hold.

A URL is often put together from secrets and pasted into logs, so nothing in it may choose a file or switch off a check,
and no error repeats a part of it: a password with a `/` or a `@` in it moves into other parts.
"""

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

from sharded_queue.errors import SettingsError

Mode = Literal["Standalone", "Sentinel", "Cluster"]

MODES: dict[str, Mode] = {"": "Standalone", "+sentinel": "Sentinel", "+cluster": "Cluster"}
URL = re.compile(
    r"(?P<scheme>[^:/?#]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
SCHEME = re.compile(r"(redis|rediss)([+-]sentinel|[+-]cluster)?")
SCHEMES = "redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster or rediss+cluster"
PORTS = {"Standalone": "6379", "Sentinel": "26379", "Cluster": "6379"}
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
PARAMETER = re.compile(r"[a-z_]{1,40}")
DATABASE = re.compile(r"[0-9]{1,9}")
ENCODE = "if the password has one of / ? # @ : % in it, write it percent-encoded"


class Parts(NamedTuple):
    """What a URL says. *addresses*: `host:port` each."""

    mode: Mode
    tls: bool
    addresses: tuple[str, ...]
    username: str | None
    password: str | None
    sentinel_master: str | None
    database: int


def parse_url(url: str) -> Parts:
    """
    Raises:
        SettingsError: this is no URL of Redis, or it has parts that a URL may not decide about. Shows no part of it but
            the names of query parameters.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise SettingsError("has characters that a URL cannot have: write them percent-encoded")
    parts = URL.fullmatch(url)
    known = parts and SCHEME.fullmatch(parts["scheme"].lower())
    if not (parts and known):
        raise SettingsError(f"must begin with one of the schemes {SCHEMES}, and ://")
    mode = MODES[(known[2] or "").replace("-", "+")]
    _check_rest(parts["path"], parts["query"] or "", parts["fragment"])
    userinfo, _, hosts = parts["authority"].rpartition("@")
    username, password = _credentials(userinfo)
    master, database = _path(parts["path"], mode)
    return Parts(mode, known[1] == "rediss", _addresses(hosts, mode), username, password, master, database)


def _check_rest(path: str, query: str, fragment: str | None) -> None:
    if "@" in path + query + (fragment or ""):
        raise SettingsError(f"has an @ behind the host: {ENCODE}")
    if query:
        names = [pair.partition("=")[0] for pair in query.split("&")]
        listed = ", ".join(name if PARAMETER.fullmatch(name) else "(hidden)" for name in names)
        raise SettingsError(
            f"has the query parameters {listed}: a URL may not set them; "
            "time-outs, certificates and files have settings of their own"
        )
    if fragment is not None:
        raise SettingsError(f"has a #: {ENCODE}")


def _credentials(userinfo: str) -> tuple[str | None, str | None]:
    if not userinfo:
        return None, None
    username, colon, password = userinfo.partition(":")
    if "@" in userinfo or ":" in password or not ENCODED.fullmatch(userinfo):
        raise SettingsError(f"has a user or a password that cannot be read: {ENCODE}")
    if not colon or not password:
        raise SettingsError("has a user without a password: write user:password@host, or :password@host")
    try:
        return unquote(username, errors="strict") or None, unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError("has a user or a password that is not UTF-8") from None


def _addresses(hosts: str, mode: Mode) -> tuple[str, ...]:
    addresses = []
    for number, address in enumerate(hosts.split(","), 1):
        parts = ADDRESS.fullmatch(address)
        port = (parts and parts[2]) or PORTS[mode]
        if not parts or not 0 < int(port) < 65536:
            raise SettingsError(f"has no host:port as address {number}; {ENCODE}")
        addresses.append(f"{parts[1]}:{port}")
    if mode == "Standalone" and len(addresses) > 1:
        raise SettingsError(f"has {len(addresses)} addresses, which needs redis+sentinel:// or redis+cluster://")
    return tuple(addresses)


def _path(path: str, mode: Mode) -> tuple[str | None, int]:
    """The name of the master, which only Sentinel has, and the number of the database."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    master = parts.pop(0) if mode == "Sentinel" and parts else None
    if mode == "Sentinel" and not (master and ENCODED.fullmatch(master)):
        raise SettingsError("needs the name of the master: redis+sentinel://host:port/master")
    number = parts.pop(0) if parts else "0"
    if parts or not DATABASE.fullmatch(number):
        raise SettingsError("has a path that is no database number")
    if mode == "Cluster" and int(number):
        raise SettingsError("has a database number, but a Cluster has no other database than 0")
    return unquote(master) if master else None, int(number)
