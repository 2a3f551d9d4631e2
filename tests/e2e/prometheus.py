"""
A real Prometheus, and what the Prometheus Operator would tell it for the monitors of the chart: of those only the parts
that the chart uses.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.chart.helm import Manifest
from tests.e2e.discovery import META, Discovery, sanitized
from tests.harness.requirements import lack
from tools.operator_process import ended, until
from tools.ports import free_port

Job = dict[str, Any]
Result = list[dict[str, Any]]


class Prometheus:
    """One process on the loopback, with a folder of its own. What it answers is the `result` of its API."""

    def __init__(self, folder: Path, jobs: Sequence[Job], rules: Manifest, seconds: int) -> None:
        """*seconds*: between two scrapes, and between two looks at the rules."""
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        every = {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"}
        body = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": list(jobs)}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(body))

    def start(self) -> "Prometheus":
        command = [
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.is_ready, "Prometheus is ready")
        return self

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except URLError:
            return False

    def stop(self) -> None:
        ended(self.process)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, path: str, **words: object) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(words)}", timeout=30) as answer:
            return json.loads(answer.read())["data"]

    def now(self, expr: str) -> Result:
        result: Result = self.ask("query", query=expr)["result"]
        return result

    def at(self, expr: str, moment: int) -> Result:
        result: Result = self.ask("query", query=expr, time=moment)["result"]
        return result

    def over(self, expr: str, begin: int, end: int, step: int = 1) -> Result:
        result: Result = self.ask("query_range", query=expr, start=begin, end=end, step=step)["result"]
        return result

    def value(self, expr: str) -> float | None:
        """Of the one series that *expr* gives now, if there is one."""
        found = [float(each["value"][1]) for each in self.now(expr)]
        assert len(found) <= 1, expr
        return found[0] if found else None

    def values(self, metric: str, label: str) -> list[str]:
        """What Grafana's `label_values(metric, label)` offers."""
        found: list[str] = self.ask(f"label/{label}/values", **{"match[]": metric})
        return found

    def wait_for(self, expr: str, value: float, seconds: float = 30) -> None:
        try:
            until(lambda: self.value(expr) == value, expr, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: it should be {value:g}, and is {self.now(expr)}") from None

    def wait_for_scrapes(self) -> None:
        """Everything that is scraped was scraped anew."""
        begun = float(self.ask("query", query="vector(time())")["result"][0]["value"][1])
        until(lambda: (self.value("min(timestamp(up))") or 0) > begun, "all was scraped anew")

    def rules(self) -> dict[str, dict[str, Any]]:
        groups = self.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


def require_prometheus() -> None:
    """Tests that need Prometheus are skipped on a machine without it; in CI that is an error."""
    if shutil.which("prometheus"):
        return
    lack("no prometheus on PATH: install Prometheus (Debian: apt install prometheus)")


def job_of(monitor: Manifest, discovery: Discovery) -> Job:
    """The scrape configuration that a PodMonitor or a ServiceMonitor stands for."""
    name, spec = monitor["metadata"], monitor["spec"]
    is_of_pods = monitor["kind"] == "PodMonitor"
    (endpoint,) = spec["podMetricsEndpoints" if is_of_pods else "endpoints"]
    subject = "pod" if is_of_pods else "service"
    port = "pod_container_port_name" if is_of_pods else "endpointslice_port_name"
    kept = {f"{subject}_label_{sanitized(key)}": value for key, value in spec["selector"]["matchLabels"].items()}
    return {
        "job_name": f"{monitor['kind']}/{name['namespace']}/{name['name']}",
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["interval"],
        "metrics_path": endpoint.get("path", "/metrics"),
        "honor_labels": endpoint.get("honorLabels", False),
        "http_sd_configs": [
            {"url": f"{discovery.url}/{'pods' if is_of_pods else 'endpointslices'}", "refresh_interval": "1s"}
        ],
        "relabel_configs": [
            *(keep(label, value) for label, value in {**kept, port: endpoint["port"]}.items()),
            *(of_pods(name) if is_of_pods else OF_SERVICES),
            copied("namespace", "namespace"),
            {"target_label": "endpoint", "replacement": endpoint["port"]},
            *map(snake, endpoint.get("relabelings", [])),
        ],
    }


def of_pods(monitor: Mapping[str, str]) -> list[Job]:
    over = {"source_labels": [f"{META}_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
    job = {"target_label": "job", "replacement": f"{monitor['namespace']}/{monitor['name']}"}
    return [over, copied("pod_name", "pod"), copied("pod_container_name", "container"), job]


def copied(source: str, target: str, regex: str = "(.*)") -> Job:
    return {"source_labels": [f"{META}_{source}"], "regex": regex, "target_label": target}


OF_SERVICES: list[Job] = [
    {
        "source_labels": [f"{META}_endpointslice_address_target_{word}" for word in ("kind", "name")],
        "regex": "Pod;(.*)",
        "target_label": "pod",
    },
    copied("service_name", "service"),
    copied("service_name", "job", "(.+)"),
]


def keep(label: str, value: str) -> Job:
    return {"source_labels": [f"{META}_{label}"], "regex": re.escape(value), "action": "keep"}


def snake(relabeling: Mapping[str, Any]) -> Job:
    """A relabeling in the spelling of Prometheus itself."""
    return {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", key): value for key, value in relabeling.items()}
