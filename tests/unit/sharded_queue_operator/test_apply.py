from typing import Any, cast

from sharded_queue_operator.api import Api
from sharded_queue_operator.apply import Applier
from sharded_queue_operator.workload import Workloads


class Server:
    """An API server whose CRD knows some fields of a status, and drops the others."""

    def __init__(self, *known: str) -> None:
        self.known, self.writes = known, 0
        self.body: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "n"}, "status": {}}

    async def merge(self, _: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        kept = {key: value for key, value in patch["status"].items() if key in self.known}
        self.body = {**self.body, "status": {**self.body["status"], **kept}}
        return self.body


async def test_a_field_that_the_server_drops_is_told_once() -> None:
    server = Server("depth")
    applier = Applier(cast("Api", server), cast("Workloads", None), "operator", status_seconds=0)

    for depth in (7, 7, 9, 9):
        await applier.tell(server.body, {"depth": depth, "oldestRequestTime": "2026-01-01T00:00:00Z"})

    assert server.body["status"] == {"depth": 9}
    assert server.writes == 2
