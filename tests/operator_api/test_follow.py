"""A HorizontalPodAutoscaler, as the documentation writes it, follows what the operator recommends."""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.prometheus import Prometheus, require_prometheus
from tests.harness.certificates import Authority
from tests.harness.pages import DOCS
from tests.operator_api.conftest import Queues
from tools.cluster.cluster import Cluster
from tools.cluster.paths import NODE_ADDRESS
from tools.operator_process import Operator

GROUP = "external.metrics.k8s.io"
SERIES = "sharded_queue_recommended_replicas"


class Adapter(ThreadingHTTPServer):
    """
    What prometheus-adapter is to an API server: `external.metrics.k8s.io`, answered from a real Prometheus by the query
    that the documentation gives.
    """

    def __init__(self, prometheus: Prometheus, certificate: tuple[Path, Path]) -> None:
        super().__init__((NODE_ADDRESS, 0), Answer)
        self.prometheus = prometheus
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def values(self, namespace: str) -> list[dict[str, Any]]:
        (rule,) = block("externalRules")["externalRules"]
        query = rule["metricsQuery"].replace("<<.Series>>", SERIES)
        found = self.prometheus.now(query.replace("<<.LabelMatchers>>", f'namespace="{namespace}"'))
        return [
            {"metricName": SERIES, "metricLabels": each["metric"], "timestamp": None, "value": each["value"][1]}
            for each in found
        ]


class Answer(BaseHTTPRequestHandler):
    server: Adapter

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.split("/")
        if "namespaces" in path:
            items = self.server.values(path[path.index("namespaces") + 1])
            answer = {"kind": "ExternalMetricValueList", "metadata": {}, "items": items}
        else:
            resource = {"name": SERIES, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            answer = {"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1beta1", "resources": [resource]}
            answer["apiVersion"] = "v1"
        text = json.dumps({"apiVersion": f"{GROUP}/v1beta1", **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Not into the test's output."""


def block(word: str) -> Any:
    """The one example of docs/kubernetes.md that has a word."""
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "kubernetes.md").read_text(), re.DOTALL)
    (found,) = [each for each in blocks if word in each]
    return yaml.safe_load(found)


@contextmanager
def registered(queues: Queues, port: int) -> Iterator[None]:
    """The API server asks the adapter, through a Service. A group that did not answer would keep all namespaces."""
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "adapter", "labels": {"kubernetes.io/service-name": "adapter"}},
        "addressType": "IPv4",
        "ports": [{"port": port}],
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
    }
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "adapter"}}
    service["spec"] = {"ports": [{"port": 443, "targetPort": port}]}
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"v1beta1.{GROUP}"}}
    api["spec"] = {
        "group": GROUP,
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "adapter", "namespace": queues.namespace},
    }
    queues.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all([service, slice_, api]))
    try:
        queues.kubectl("wait", f"apiservice/v1beta1.{GROUP}", "--for=condition=Available", "--timeout=30s")
        yield
    finally:
        queues.kubectl("delete", f"apiservice/v1beta1.{GROUP}")


@pytest.fixture
def prometheus(tmp_path: Path, operator: Operator) -> Iterator[Prometheus]:
    require_prometheus()
    job = {"job_name": "operator", "static_configs": [{"targets": [f"127.0.0.1:{operator.port}"]}]}
    server = Prometheus(tmp_path / "prometheus", [job], {"groups": []}, seconds=1).start()
    yield server
    server.stop()


@pytest.fixture
def adapter(cluster: Cluster, queues: Queues, prometheus: Prometheus, tmp_path: Path) -> Iterator[Adapter]:
    certificate = Authority(tmp_path / "authority").sign("adapter", f"IP:{NODE_ADDRESS}")
    server = Adapter(prometheus, certificate)
    Thread(target=server.serve_forever, daemon=True).start()
    with registered(queues, server.server_port):
        yield server
    server.shutdown()
    server.server_close()


@pytest.mark.timeout(180)
def test_an_hpa_follows_what_the_operator_recommends(queues: Queues, adapter: Adapter, prometheus: Prometheus) -> None:
    queues.redis.register(threads=3, each=2000)
    queues.apply(scaling={"mode": "Recommend", "maxReplicas": 2})
    queues.wait(".status.recommendedReplicas", 2)
    queues.wait_for_replicas(0)
    keda = block("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    prometheus.wait_for(keda.replace("shop", queues.namespace), 2)

    queues.kubectl("scale", "deployment/notifications-worker", "--replicas=1")
    queues.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(block("HorizontalPodAutoscaler")))
    queues.wait_for_replicas(2)
    queues.kubectl("wait", "hpa/notifications", "--for=condition=ScalingActive", "--timeout=30s")
    queues.wait_for_condition("Contested", "NobodyElseScales")
