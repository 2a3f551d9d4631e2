"""What Prometheus finds in a cluster, and under which labels."""

import json
import re
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.chart.helm import Manifest
from tools.cluster.cluster import Cluster

META = "__meta_kubernetes"

Targets = list[dict[str, Any]]


class Discovery:
    """
    In the place of Prometheus's own discovery of Kubernetes, without which Debian builds it; on a port of the loopback.
    Only what our monitors ask for.
    """

    def __init__(self, cluster: Cluster, namespaces: Sequence[str]) -> None:
        found = {"/pods": lambda: pods(cluster, namespaces), "/endpointslices": lambda: slices(cluster, namespaces)}

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(found[self.path]()).encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Discovery":
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def pods(cluster: Cluster, namespaces: Sequence[str]) -> Targets:
    """A target for each port of a container of a pod that has an address."""
    return [
        target(
            pod["status"]["podIP"],
            port["containerPort"],
            {"namespace": pod["metadata"]["namespace"]},
            pod_name=pod["metadata"]["name"],
            pod_phase=pod["status"]["phase"],
            pod_container_name=container["name"],
            pod_container_port_name=port.get("name", ""),
            **labels("pod", pod),
        )
        for pod in objects(cluster, "pods", namespaces)
        if "podIP" in pod["status"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    ]


def slices(cluster: Cluster, namespaces: Sequence[str]) -> Targets:
    """A target for each port of each address behind a Service."""
    services = {service["metadata"]["name"]: service for service in objects(cluster, "services", namespaces)}
    return [
        target(
            address,
            port["port"],
            {"namespace": each["metadata"]["namespace"]},
            service_name=service["metadata"]["name"],
            endpointslice_port_name=port["name"],
            endpointslice_address_target_kind=endpoint.get("targetRef", {}).get("kind", ""),
            endpointslice_address_target_name=endpoint.get("targetRef", {}).get("name", ""),
            **labels("service", service),
        )
        for each in objects(cluster, "endpointslices", namespaces)
        if (service := services.get(each["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")))
        for port in each["ports"]
        for endpoint in each["endpoints"]
        for address in endpoint["addresses"]
    ]


def objects(cluster: Cluster, kind: str, namespaces: Sequence[str]) -> Targets:
    answers = [cluster.kubectl("get", kind, "--namespace", each, "--output=json") for each in namespaces]
    return [item for answer in answers for item in json.loads(answer)["items"]]


def target(address: str, port: int, place: Mapping[str, str], **found: str) -> dict[str, Any]:
    named = {f"{META}_{name}": value for name, value in {**place, **found}.items()}
    return {"targets": [f"{address}:{port}"], "labels": named}


def labels(subject: str, manifest: Manifest) -> dict[str, str]:
    return {f"{subject}_label_{sanitized(key)}": value for key, value in manifest["metadata"].get("labels", {}).items()}


def sanitized(label: str) -> str:
    return re.sub(r"\W", "_", label)
