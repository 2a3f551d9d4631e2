"""
The cluster is a real one: pods run, names resolve, and what is done to it is written down.
"""

import json
from typing import Any

import pytest

from tools.cluster import cleanup
from tools.cluster.cluster import Cluster
from tools.cluster.paths import REPOSITORY, STATE

pytestmark = pytest.mark.cluster

PYTHON = "docker.io/library/python:3.11-slim"
"""What the worker's and the operator's images start from."""


def pod(name: str, *command: str) -> dict[str, Any]:
    """
    A pod that runs one command, in the security context that the strictest standard of Kubernetes asks for.
    """
    container = {
        "name": "main",
        "image": PYTHON,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def output(cluster: Cluster, namespace: str) -> Any:
    """
    Runs a command in a pod, waits for its end and returns what it printed.
    """

    def run(*command: str) -> str:
        cluster.kubectl("create", "--namespace", namespace, "--filename=-", stdin=json.dumps(pod("one", *command)))
        cluster.wait_until("pods", "one", lambda it: it["status"]["phase"] == "Succeeded", namespace=namespace)
        return cluster.kubectl("logs", "one", "--namespace", namespace).strip()

    return run


def test_node_is_ready(cluster: Cluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    states = [(condition["type"], condition["status"]) for node in nodes for condition in node["status"]["conditions"]]

    assert ("Ready", "True") in states


def test_pod_of_the_base_image_runs_restricted(output: Any) -> None:
    assert output("python", "-c", "import os; print(os.getuid())") == "65532"


def test_service_name_resolves_in_a_pod(cluster: Cluster, output: Any) -> None:
    address = cluster.kubectl(
        "get", "service", "kubernetes", "--namespace=default", "--output=jsonpath={.spec.clusterIP}"
    )

    found = output("python", "-c", "import socket; print(socket.gethostbyname('kubernetes.default.svc'))")

    assert found == address


def test_service_leads_to_the_api_server_and_refuses_the_unknown(output: Any) -> None:
    """
    The whole way of a packet: name, Service, the node's address; and the API server answers nobody without a token.
    """
    code = """
import ssl, urllib.error, urllib.request
try:
    urllib.request.urlopen("https://kubernetes.default.svc/api/v1/pods", context=ssl._create_unverified_context())
except urllib.error.HTTPError as error:
    print(error.code)
"""

    assert output("python", "-c", code) == "403"


def test_what_kubectl_remembers_of_kinds_goes_with_the_cluster(cluster: Cluster) -> None:
    """Else it asks the next cluster at the same address for kinds that only the last one had."""
    if cluster.node is None:
        pytest.skip("a cluster of yours is remembered where you want it")
    cluster.kubectl("get", "all")
    assert any(cluster.node.state.glob("*/discovery"))


def test_crds_are_accepted(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename", REPOSITORY / "crds")

    cluster.kubectl("wait", "--for=condition=Established", "--filename", REPOSITORY / "crds")


def test_audit_log_names_who_asked_for_what(cluster: Cluster, namespace: str) -> None:
    if cluster.audit_log is None:
        pytest.skip("only the cluster that these tests start keeps an audit log where they can read it")

    lines = map(json.loads, cluster.audit_log.read_text().splitlines())
    who = {
        line["user"]["username"]
        for line in lines
        if line["verb"] == "create" and line["objectRef"].get("name") == namespace
    }

    assert "admin" in who


def test_all_that_down_must_remove_is_known(cluster: Cluster) -> None:
    """
    `down` fails when `leftovers` is not empty; so that must see every kind of thing while the cluster runs.
    """
    if cluster.node is None:
        pytest.skip("this cluster is not ours to take down")

    seen = "\n".join(cleanup.leftovers(STATE))

    for kind in ("process kubelet", "process etcd", "control group", "mount", "bridge", "folder"):
        assert kind in seen
