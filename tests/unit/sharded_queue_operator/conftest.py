"""Fixtures of the operator's unit tests that more than one file uses."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.settings import Settings
from tests.unit.sharded_queue_operator.api_server import NAME, Server
from tests.unit.sharded_queue_operator.pod_server import PodServer, RecordingCoordinator, pod, tracking


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def controller(server: Server) -> AsyncIterator[Controller]:
    controller = Controller(cast("Api", server), Settings())
    yield controller
    controller.queue.forget(NAME)
    await controller.observer.close()


@pytest.fixture
def pod_server() -> PodServer:
    return PodServer(*(pod(name) for name in "abcd"))


@pytest.fixture
def pods(pod_server: PodServer) -> PodTracker:
    return tracking(pod_server)


@pytest.fixture
def coordinator() -> RecordingCoordinator:
    return RecordingCoordinator()
