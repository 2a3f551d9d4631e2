"""The page: one list every five seconds for all who look at it, whatever their number."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from kubernetes.aio.config import ConfigException

from sharded_queue.printable import printable
from sharded_queue.web.added_page import Content
from sharded_queue.web.people import Role
from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.api import queues as path_of
from sharded_queue_operator.console.lines import PERIOD_SECONDS, POINTS, Point
from sharded_queue_operator.console.rows import Body, Queue, content
from sharded_queue_operator.errors import ApiRefused, BadSpec

SECONDS = 4.0
"""For an answer, and what it sends until then counts for nothing."""
MOST_LISTED, LISTED_AT_ONCE = 250, 50
"""ShardedQueues of each namespace, or of all of them; and those of one answer."""
MOST_BYTES = 2 * 2**20
"""Of an answer: 40 kB a resource. It bounds what authors of resources take of the console's memory and time."""
NAMESPACE = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)

Connect = Callable[[], Awaitable[Api]]


class QueuesPage:
    """*namespaces*: those whose ShardedQueues are shown; empty for all."""

    title = "ShardedQueues"
    role: Role = "viewer"
    period_seconds = PERIOD_SECONDS

    def __init__(self, namespaces: Sequence[str], connect: Connect) -> None:
        self._namespaces, self._connect = namespaces or [""], connect
        self._lines: Mapping[str, Sequence[Point]] = {}

    def read(self) -> Content:
        """
        Raises:
            ApiRefused: there is no list.
        """
        lists = asyncio.run(self._lists())
        try:
            queues = [Queue(body) for bodies, _ in lists for body in bodies]
            self._lines = self._longer(queues, time.time())
            return content(queues, self._lines, sum(unlisted for _, unlisted in lists))
        except UNREADABLE as error:
            said = f"the answer of the API server is not a list of ShardedQueues: {error!r}"
            raise ApiRefused(0, said) from error

    def _longer(self, queues: Sequence[Queue], at: float) -> Mapping[str, Sequence[Point]]:
        """The lines with a point more. Resources that are gone have none."""
        lines = {}
        for queue in queues:
            points = deque(self._lines.get(queue.uid, ()), maxlen=POINTS)
            points.append(Point(at, queue.workers, queue.lanes))
            lines[queue.uid] = tuple(points)
        return lines

    async def _lists(self) -> list[tuple[list[Body], int]]:
        try:
            api = await self._connect()  # each time: the kubelet replaces the token of the account within the hour
        except ConfigException as error:
            raise ApiRefused(0, f"there is neither an account of a pod nor a kubeconfig: {error}") from error
        try:
            return [await listed(api, path_of(namespace=namespace)) for namespace in self._namespaces]
        except ApiRefused as error:
            raise ApiRefused(error.status, sentence(error)) from error
        finally:
            await api.close()


async def listed(api: Api, path: str) -> tuple[list[Body], int]:
    """The first resources of a list, and how many more there are."""
    bodies: list[Body] = []
    query = {"limit": str(LISTED_AT_ONCE)}
    while True:
        answer = await api.get(path, **query)
        metadata = answer.get("metadata") or {}
        bodies += answer.get("items") or []
        if not metadata.get("continue") or len(bodies) >= MOST_LISTED:
            return bodies, metadata.get("remainingItemCount") or 0
        query["continue"] = metadata["continue"]


def sentence(error: ApiRefused) -> str:
    """Why there is no list."""
    known = {
        403: "the API server refuses: the account of this pod may not list ShardedQueues",
        404: "the API server knows no ShardedQueues: their definition is not installed",
    }
    return known.get(error.status) or f"the API server does not answer: {error}"


def open_page(text: str) -> QueuesPage:
    """
    *text*: namespaces, separated by commas; all of them without it.

    Raises:
        BadSpec: one is not a namespace name.
    """
    namespaces = [namespace for namespace in text.split(",") if namespace]
    for namespace in namespaces:
        if not NAMESPACE.fullmatch(namespace):
            raise BadSpec(f"{printable(namespace, 100)!r} is not a namespace name")
    return QueuesPage(namespaces, partial(Api.connected, SECONDS, MOST_BYTES))
