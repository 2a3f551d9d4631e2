"""
The ShardedQueues of the cluster: what the operator saw and decided, as the API server has it.

One reader lists them for all pages. Whatever becomes of the API server, pages about Redis do not wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from sharded_queue.web.api_server import ApiServer, ApiServerSilent
from sharded_queue.web.history import POINTS, STEP_SECONDS

log = logging.getLogger("sharded_queue.web")

PERIOD_SECONDS = STEP_SECONDS
"""Between two lists: a line gets a point from each of them."""
MOST_LISTED = 250
"""Of each namespace, or of all of them."""
PATH = "/apis/shardedqueue.dev/v1alpha1"


class Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""


class Handler(msgspec.Struct, frozen=True):
    name: str = ""


class Scaling(msgspec.Struct, frozen=True, rename="camel"):
    min_replicas: int = 0
    max_replicas: int = 10


class Spec(msgspec.Struct, frozen=True):
    handlers: list[Handler] = []
    scaling: Scaling = Scaling()
    replicas: int | None = None
    suspend: bool = False


class Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""

    @property
    def is_well(self) -> bool:
        return self.type in EITHER_IS_WELL or (self.status == "True") == (self.type in TRUE_WHEN_WELL)


TRUE_WHEN_WELL = frozenset({"Ready", "QueueKnown", "WorkersAvailable"})
EITHER_IS_WELL = frozenset({"Pinned"})
"""A person wants it so. All other conditions name something that is wrong."""


class Threads(msgspec.Struct, frozen=True):
    bound: int = 0
    """Each is a lane of a worker."""


class Status(msgspec.Struct, frozen=True, rename="camel"):
    desired_replicas: int | None = None
    replicas: int = 0
    ready_replicas: int = 0
    threads: Threads = Threads()
    message: str = ""
    conditions: list[Condition] = []


class ShardedQueue(msgspec.Struct, frozen=True):
    """The fields that the console shows."""

    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def name(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def faults(self) -> list[Condition]:
        """Those that keep it from being ready come first."""
        wrong = [condition for condition in self.status.conditions if not condition.is_well]
        return sorted(wrong, key=lambda condition: condition.type not in TRUE_WHEN_WELL)

    @property
    def is_ready(self) -> bool:
        return not any(condition.type in TRUE_WHEN_WELL for condition in self.faults)


class Page(msgspec.Struct, frozen=True, rename="camel"):
    remaining_item_count: int = 0


class Listed(msgspec.Struct, frozen=True):
    """An answer of the API server."""

    items: list[ShardedQueue]
    metadata: Page = Page()


class Point(NamedTuple):
    """How many workers and lanes there were at *at*, in seconds since 1970."""

    at: float
    workers: int
    lanes: int


@dataclass(frozen=True)
class Cluster:
    """The ShardedQueues as they were at *at*, in seconds since 1970."""

    at: float = 0.0
    queues: Sequence[ShardedQueue] = ()
    unlisted: int = 0
    lines: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """By uid."""
    silent_since: float | None = None
    """Since when the API server does not answer; None while it does."""
    trouble: str = ""

    def line(self, queue: ShardedQueue, of: Literal["workers", "lanes"]) -> list[tuple[float, float]]:
        """(seconds before the last point, number), the oldest first; points within a level stretch are left out."""
        points = [(point.at, getattr(point, of)) for point in self.lines.get(queue.metadata.uid, ())]
        last = len(points) - 1
        return [
            (points[-1][0] - at, float(number))
            for index, (at, number) in enumerate(points)
            if index in (0, last) or {points[index - 1][1], points[index + 1][1]} != {number}
        ]


class ClusterReader:
    """*namespaces*: those whose ShardedQueues are shown; empty for all."""

    def __init__(self, server: ApiServer, namespaces: Sequence[str] = ()) -> None:
        self.server, self.namespaces = server, namespaces
        self.cluster = Cluster()

    async def run(self) -> None:
        """Read until cancelled. One list is over before the next one begins, so that none pile up."""
        while True:
            await self.round()
            await asyncio.sleep(PERIOD_SECONDS)

    async def round(self) -> None:
        """An error is part of what pages show."""
        before = self.cluster
        try:
            answers = [await asyncio.to_thread(self._listed, path) for path in self._paths()]
        except ApiServerSilent as error:
            if before.silent_since is None:
                log.warning("%s", error)
            since = before.silent_since or time.time()
            self.cluster = Cluster(before.at, before.queues, before.unlisted, before.lines, since, str(error))
        else:
            if before.silent_since is not None:
                log.info("the API server answers again")
            self.cluster = after(before, answers, time.time())

    def _paths(self) -> Iterator[str]:
        if not self.namespaces:
            yield f"{PATH}/shardedqueues"
        for namespace in self.namespaces:
            yield f"{PATH}/namespaces/{namespace}/shardedqueues"

    def _listed(self, path: str) -> Listed:
        try:
            return msgspec.json.decode(self.server.get(path, limit=MOST_LISTED), type=Listed)
        except msgspec.DecodeError as error:
            raise ApiServerSilent(f"the answer of the API server is no list of ShardedQueues: {error}") from error


def after(before: Cluster, answers: Sequence[Listed], at: float) -> Cluster:
    """What is known after a list, with a point more in the line of each queue. Those that are gone have none."""
    queues = [queue for answer in answers for queue in answer.items]
    queues.sort(key=lambda queue: (queue.is_ready, not queue.faults, queue.name))
    lines = {}
    for queue in queues:
        points = deque(before.lines.get(queue.metadata.uid, ()), maxlen=POINTS)
        points.append(Point(at, queue.status.replicas, queue.status.threads.bound))
        lines[queue.metadata.uid] = tuple(points)
    return Cluster(at, queues, sum(answer.metadata.remaining_item_count for answer in answers), lines)
