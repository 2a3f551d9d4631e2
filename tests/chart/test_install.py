"""The chart on a real cluster: installed, asked, upgraded, used, and taken away again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART
from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RELEASE = "queues"
OPERATOR = f"{RELEASE}-sharded-queue-operator"
CRD = "customresourcedefinition/shardedqueues.shardedqueue.dev"
KINDS = "all,serviceaccounts,roles,rolebindings,configmaps,networkpolicies,poddisruptionbudgets,leases,secrets"


class Release:
    """One release of the chart that serves its own namespace only, so that no other test meets its operator."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def helm(self, *arguments: str) -> str:
        return self.cluster.helm(*arguments, "--namespace", self.namespace, timeout=180)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, timeout=120)

    def install(self, *settings: str) -> str:
        """Also over a definition of ShardedQueue that another release or kubectl left, as uninstalling keeps it."""
        watched = f"watchNamespaces={{{self.namespace}}}"
        ours = ["--take-ownership", "--force-conflicts", "--wait", "--timeout=120s", "--set", watched]
        return self.helm("upgrade", "--install", RELEASE, str(CHART), *ours, *settings)

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "deployment", OPERATOR, "--output=json"))
        return found

    def names(self) -> set[str]:
        return set(self.kubectl("get", KINDS, "--output=name").split())


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[Release]:
    cluster.load_images()
    release = Release(cluster, namespace)
    yield release
    release.helm("uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout=60s")


def test_a_release_is_installed_tested_upgraded_used_and_removed(release: Release) -> None:
    """Afterwards nothing is left but the definition of ShardedQueue, and with it the ShardedQueues."""
    before = release.names()
    release.install()
    assert release.deployment()["status"]["readyReplicas"] == 1
    release.helm("test", RELEASE, "--timeout=60s")

    release.install("--set=replicas=2", "--set=redis.enabled=true", "--set=settings.logLevel=DEBUG")
    assert release.deployment()["status"]["readyReplicas"] == 2
    release.helm("test", RELEASE, "--timeout=60s")

    release.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(a_queue(release)))
    release.kubectl("wait", "shq/notifications", "--for=condition=Ready", "--timeout=60s")
    release.kubectl("delete", "shq/notifications", "--timeout=60s")
    release.kubectl("wait", "deployment/notifications-worker", "--for=delete", "--timeout=60s")

    release.helm("uninstall", RELEASE, "--wait", "--timeout=60s")
    release.kubectl("wait", "pods", "--all", "--for=delete", "--timeout=60s")
    left = release.names() - before - {f"lease.coordination.k8s.io/{OPERATOR}"}
    assert not left
    assert release.kubectl("get", CRD, "--output=name").strip()


def a_queue(release: Release) -> dict[str, Any]:
    address = f"{RELEASE}-sharded-queue-redis:6379"
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"name": "notifications"},
        "spec": {
            "redis": {"addresses": [address]},
            "handlers": [{"name": "notifications.NotifyHandler"}],
            "worker": {"image": "localhost/notifications:dev", "modules": ["notifications"]},
        },
    }
