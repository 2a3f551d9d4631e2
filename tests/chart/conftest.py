"""One release of the chart for the tests that need a cluster."""

from collections.abc import Iterator

import pytest

from tests.chart.release import Release
from tools.cluster.cluster import Cluster


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[Release]:
    """Not installed yet; afterwards it is gone, and so are its queues."""
    cluster.load_images()
    release = Release(cluster, namespace)
    yield release
    release.kubectl("delete", "shq", "--all", "--ignore-not-found", "--timeout=60s")
    release.uninstall()
