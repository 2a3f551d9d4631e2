from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.controller import apply
from sharded_queue_operator.controller.apply import Applier


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


async def test_a_field_that_the_server_drops_is_written_once() -> None:
    server = Server("depth")
    applier = Applier(cast("Api", server), cast("Workloads", None), "operator", status_seconds=0)

    for depth in (7, 7, 9, 9):
        await applier.write_status(server.body, {"depth": depth, "oldestRequestTime": "2026-01-01T00:00:00Z"})

    assert server.body["status"] == {"depth": 9}
    assert server.writes == 2


async def test_depths_wait_for_their_time_but_for_the_first_and_the_last_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """People who watch a queue wait for it to be empty."""
    server, clock = Server("depth"), [0.0]
    monkeypatch.setattr(apply, "monotonic", lambda: clock[0])
    applier = Applier(cast("Api", server), cast("Workloads", None), "operator", status_seconds=30)
    told = []
    for second, depth in ((0, 5), (3, 500), (10, 500), (10, 0), (12, 9), (15, 9), (44, 90), (45, 90)):
        clock[0] = second
        await applier.write_status(server.body, {"depth": depth})
        told.append(server.body["status"]["depth"])

    assert told == [5, 5, 5, 0, 0, 9, 9, 90]
