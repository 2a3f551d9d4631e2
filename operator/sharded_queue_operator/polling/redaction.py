"""
Why a Redis says nothing, in our own words. Pure.

A resource may name any server, and its author reads the status: what a stranger's server answers is not repeated
there. Only what we, the system, or redis-py say by themselves is, and a few codes of Redis that everybody knows.
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

NO_REDIS = "what answers there does not speak as Redis does"

CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (NoPermissionError, "its user may not do what the operator needs (NOPERM): see docs/redis.md"),
    (AuthenticationError, "it refuses the user or the password, or requires them (NOAUTH, WRONGPASS)"),
    (BusyLoadingError, "it is loading its data (LOADING)"),
    (ReadOnlyError, "it is a replica, which takes no writes (READONLY)"),
    (ClusterDownError, "its Cluster is down (CLUSTERDOWN)"),
    (MasterDownError, "its master is down (MASTERDOWN)"),
    (OutOfMemoryError, "it is at its memory limit (OOM)"),
    (InvalidResponse, NO_REDIS),
    (MovedError, "it is a node of a Cluster: set mode Cluster"),
)

MOST_PARTS = 3
"""Of one error, that a status repeats."""

CLIENT = re.compile(r"<redis\..*?> - ")
"""What redis-py says of each Sentinel that failed begins with all that it knows of its own client."""

SAID = re.compile(
    "|".join(
        (
            r"Error -?\d+ connecting to [\w.:\[\]-]+\. [\w ,.'()\[\]:-]{0,120}",
            r"Timeout connecting to server",
            r"Timeout reading from [\w.:\[\]-]+",
            r"Cluster mode is not enabled on this node",
            r"No master found for '[\w.-]{1,128}'( : network:[A-Z]\w{0,40})?",
            r"unknown command '(SENTINEL|EVALSHA|CLUSTER|SCRIPT)'",
            r"label (empty or )?too long",
            r"a (list|text|message|line) of [\d,]{1,40} (elements|bytes), where at most [\d,]{1,20} are read",
            r"a message that is not whole after [\d.]{1,8} s",
            r"the certificate of Redis is not trusted \([\w ,.'*:-]{0,200}\)",
            r"a connection ended as it began; if Redis speaks TLS there, set QUEUE_REDIS_TLS=Verify",
            r"[Tt]he connection was closed by the server|Connection (closed|reset) by (server|peer)",
            r"the key [\w{}.:<>/-]{1,300} holds no [a-z ]{1,40}(?=;)",
            r"the counters and indices of [\w{}.:<>-]{1,300} cannot be read",
            r"`sharded-queue check [\w.<>-]{1,200} --repair` (puts it right|removes it)",
            r"the data of [\w{}.:<>-]{1,300} in Redis are of format \w{1,20}, and this release of sharded-queue reads"
            r" and writes format \w{1,20}",
            r"\b(WRONGTYPE|NOSCRIPT|NOREPLICAS|MISCONF|BUSY|TRYAGAIN)\b",
            NO_REDIS,
            r"is not one of the servers that the operator may ask",
        )
    )
)


def cause(error: BaseException) -> str | None:
    """What a status may say of *error*; None when it has no text, as after a time-out."""
    chain = list(causes(error))
    for kind, sentence in CLASSES:
        if any(isinstance(each, kind) for each in chain):
            return sentence
    for each in chain:
        if found := dict.fromkeys(match[0] for match in SAID.finditer(spoken(each))):
            return "; ".join(list(found)[:MOST_PARTS])
    if any(isinstance(each, ResponseError) for each in chain):
        return "it answers with an error, which is in the operator's log"
    return "the operator's log says more" if str(error) else None


def spoken(error: BaseException) -> str:
    """The text of an error without what redis-py knows of itself."""
    return CLIENT.sub("", str(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from, the last one first."""
    seen: set[int] = set()
    next_: BaseException | None = error
    while next_ is not None and id(next_) not in seen:
        seen.add(id(next_))
        yield next_
        next_ = next_.__cause__ or next_.__context__
