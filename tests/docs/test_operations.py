"""The files that the page on operations prints are what their programs and this library read."""

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sharded_queue.cli.program import OWN
from sharded_queue.settings import ENV_PREFIX, FIELDS, settings
from tests.chart.promtool import checked, require_promtool
from tests.harness.pages import DOCS, blocks

PAGES = ["operations.md", "production.md"]
ROOT = DOCS.parent


def printed_yaml(kind: str) -> Any:
    """The printed file that has this key."""
    (found,) = [each for block in blocks("operations.md", "yaml") for each in yaml.safe_load_all(block) if kind in each]
    return found


def seconds(span: str) -> float:
    return float(span.removesuffix("s"))


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_is_named_exists(page: str) -> None:
    named = set(re.findall(rf"{ENV_PREFIX}([A-Z_]*[A-Z])\b", (DOCS / page).read_text()))

    assert named
    assert {name.lower() for name in named} <= set(FIELDS)


def test_the_deployment_is_valid_and_gives_workers_time_to_stop() -> None:
    deployment = printed_yaml("apiVersion")
    kubernetes_validate.validate(deployment, "1.35", strict=True)

    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.worker_drain


def test_compose_gives_workers_time_to_stop_and_redis_no_reason_to_evict() -> None:
    services = printed_yaml("services")["services"]

    assert seconds(services["worker"]["stop_grace_period"]) > settings.worker_drain
    assert "--maxmemory-policy noeviction" in services["redis"]["command"]
    assert services["worker"]["environment"] == {"QUEUE_REDIS_ADDRESS": "redis:6379"}


def test_the_unit_starts_a_worker_and_gives_it_time_to_stop() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    (text,) = blocks("operations.md", "ini")
    unit.read_string(text)

    program, command, *_ = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/bin/sharded-queue")
    assert command in OWN
    assert float(unit["Service"]["TimeoutStopSec"]) > settings.worker_drain


def test_the_instances_of_the_unit_have_ports() -> None:
    page = (DOCS / "operations.md").read_text()
    (port,) = re.findall(r"QUEUE_METRICS_PORT=(\S+)", page)
    instances = re.findall(r"queue-worker@(\d+)", page)

    assert len({int(port.replace("%i", each)) for each in instances}) >= 2
    for each in [*instances, "99"]:
        assert int(port.replace("%i", each)) < 1 << 16


def test_the_dockerfile_installs_a_known_extra_on_a_python_that_is_allowed_and_starts_a_worker() -> None:
    (text,) = blocks("operations.md", "dockerfile")
    lines = {word: rest for word, _, rest in (line.partition(" ") for line in text.splitlines())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (python,) = re.fullmatch(r"python:(3\.\d+)-slim", lines["FROM"]).groups()  # type: ignore[union-attr]
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    name, extra = re.search(r"'([\w-]+)\[(\w+)\]>=1'$", lines["RUN"]).groups()  # type: ignore[union-attr]
    assert name == project["name"]
    assert extra in project["optional-dependencies"]
    program, command = json.loads(lines["ENTRYPOINT"])
    assert program in project["scripts"]
    assert command in OWN
    (module,) = json.loads(lines["CMD"])
    assert lines["COPY"] == f"{module}.py ."
    assert f"PYTHONPATH={lines['WORKDIR']}" in lines["ENV"].split()
    assert lines["USER"].split(":")[0] not in {"0", "root"}


def test_the_table_of_alerts_is_that_of_the_chart() -> None:
    groups = yaml.safe_load((ROOT / "charts" / "sharded-queue" / "files" / "alerts.yaml").read_text())["groups"]
    wanted = [
        (rule["alert"], rule["alert"].lower(), rule.get("for", "at once"), rule["labels"]["severity"])
        for group in groups
        for rule in group["rules"]
    ]
    page = (DOCS / "runbooks.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| (.+) \| (.+) \| (\w+) \|$", page, re.MULTILINE)

    assert [(name, link, after, severity) for name, link, _, after, severity in rows] == wanted
    for (_, _, words, _, _), rule in zip(rows, (rule for group in groups for rule in group["rules"]), strict=True):
        bound = re.search(r"> (\d*\.?\d+)\s*$", rule["expr"])
        number = bound[1] if bound else "0"
        assert number in {"0", "0.1", "1"} or number in words, (words, number)


def test_the_alerts_and_metrics_that_are_named_exist() -> None:
    text = "".join((DOCS / page).read_text() for page in PAGES)
    alerts, metrics = (DOCS / "runbooks.md").read_text(), (DOCS / "metrics.md").read_text()

    assert set(re.findall(r"ShardedQueue[A-Z]\w+", text)) <= set(re.findall(r"^## (\w+)$", alerts, re.MULTILINE))
    named = set(re.findall(r"sharded_queue_(?:worker|handler|tube|operator)_\w+", text))
    assert {name for name in named if f"`{name}`" not in metrics} == set()


def test_prometheus_understands_the_number_of_threads(tmp_path: Path) -> None:
    require_promtool()
    checked(tmp_path, blocks("operations.md", "promql"))
