"""
What a status may repeat of an error of Redis. Pure.

A resource may name any server, and its author reads the status. So the answers of a stranger's server are kept out of
it: an error passes only in our own sentences, or in texts that we, the system or redis-py are known to write.
"""

import re
from collections.abc import Iterator

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from sharded_queue.backends.redis.link import EndedAtOnce

NO_REDIS = "the server does not speak the Redis protocol"

SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (NoPermissionError, "its user lacks a permission that the operator needs (NOPERM): see docs/redis.md"),
    (AuthenticationError, "it requires a user or a password, or refuses the one given (NOAUTH, WRONGPASS)"),
    (BusyLoadingError, "it is loading its data (LOADING)"),
    (ReadOnlyError, "it is a read-only replica (READONLY)"),
    (ClusterDownError, "its Cluster is down (CLUSTERDOWN)"),
    (MasterDownError, "its master is down (MASTERDOWN)"),
    (OutOfMemoryError, "it is at its memory limit (OOM)"),
    (InvalidResponse, NO_REDIS),
    (EndedAtOnce, "it ended a connection as it began: if it speaks TLS, set redis.tls.mode to Verify"),
    (MovedError, "it is a node of a Cluster: set redis.mode to Cluster"),
)

MOST_PARTS = 3
"""Safe texts that a status repeats of one error."""

CLIENT_REPR = re.compile(r"<redis\..*?> - ")
"""redis-py begins its report on each failed Sentinel with a description of its own client."""

SAFE_TEXT = re.compile(
    "|".join(
        (
            r"Error -?\d+ connecting to [\w.:\[\]-]+\. [\w ,.'()\[\]:-]{0,120}",
            r"Timeout connecting to server",
            r"Timeout reading from [\w.:\[\]-]+",
            r"Cluster mode is not enabled on this node",
            r"No master found for '[\w.-]{1,128}'( : network:[A-Z]\w{0,40})?",
            r"unknown command '(SENTINEL|EVALSHA|CLUSTER|SCRIPT)'",
            r"label (empty( or too long)?|too long)",
            r"a (list|text|message|line) of [\d,]{1,40} (elements|bytes) is over the limit of [\d,]{1,20}",
            r"a message was incomplete after [\d.]{1,8} s",
            r"the certificate of Redis is not trusted \([\w ,.'*:-]{0,200}\)",
            r"[Tt]he connection was closed by the server|Connection (closed|reset) by (server|peer)",
            r"the key [\w{}.:<>/-]{1,300} holds no [a-z ]{1,40}(?=;)",
            r"the counters and indices of [\w{}.:<>-]{1,300} cannot be read",
            r"`sharded-queue check [\w.<>-]{1,200} --repair` (puts it right|removes it)",
            r"the data of [\w{}.:<>-]{1,300} in Redis are of format \w{1,20}, and this release of sharded-queue reads"
            r" and writes format \w{1,20}",
            r"\b(WRONGTYPE|NOSCRIPT|NOREPLICAS|MISCONF|BUSY|TRYAGAIN)\b",
            NO_REDIS,
            r"is not a server that the operator may connect to",
        )
    )
)


def redacted(error: BaseException) -> str | None:
    """What a status may say of *error*; None when it has no text, as after a time-out."""
    chain = list(_chain(error))
    for kind, sentence in SENTENCES:
        if any(isinstance(each, kind) for each in chain):
            return sentence
    for each in chain:
        if found := dict.fromkeys(match[0] for match in SAFE_TEXT.finditer(raw_text(each))):
            return "; ".join(list(found)[:MOST_PARTS])
    if any(isinstance(each, ResponseError) for each in chain):
        return "it answers with an error: see the operator's log"
    return "see the operator's log" if str(error) else None


def raw_text(error: BaseException) -> str:
    """The whole text of an error, for the log."""
    return CLIENT_REPR.sub("", str(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then what it was raised from, and so on."""
    seen: set[int] = set()
    next_: BaseException | None = error
    while next_ is not None and id(next_) not in seen:
        seen.add(id(next_))
        yield next_
        next_ = next_.__cause__ or next_.__context__
