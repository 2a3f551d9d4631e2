"""Helm, made before the first test that calls it; and one release of the chart for the tests that need a cluster."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chart.release import Release
from tools.cluster.binaries import provide
from tools.cluster.cluster import Cluster
from tools.cluster.paths import CannotRun


def pytest_collection_finish(session: pytest.Session) -> None:
    """To build it takes longer than a test may. Where that cannot be done, the tests say why."""
    if session.config.option.collectonly or not any(
        Path(__file__).parent in item.path.parents for item in session.items
    ):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), suppress(CannotRun):
        provide("helm")


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[Release]:
    """Not installed yet; afterwards it is gone, and so are its queues."""
    cluster.load_images()
    release = Release(cluster, namespace)
    yield release
    release.kubectl("delete", "shq", "--all", "--ignore-not-found", "--timeout=60s")
    release.uninstall()
