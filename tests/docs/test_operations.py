"""The files that the page on operations prints are what their programs and this library read."""

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sharded_queue.cli.program import OWN
from sharded_queue.settings import ENV_PREFIX, Settings, settings
from tests.chart.promtool import checked, require_promtool
from tests.harness.pages import DOCS, blocks

PAGES = ["operations.md", "production.md"]


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
    assert {name.lower() for name in named} <= set(Settings.model_fields)


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


def test_the_alerts_and_metrics_that_are_named_exist() -> None:
    text = "".join((DOCS / page).read_text() for page in PAGES)
    alerts, metrics = (DOCS / "runbooks.md").read_text(), (DOCS / "metrics.md").read_text()

    assert set(re.findall(r"ShardedQueue[A-Z]\w+", text)) <= set(re.findall(r"^## (\w+)$", alerts, re.MULTILINE))
    named = set(re.findall(r"sharded_queue_(?:worker|handler|tube|operator)_\w+", text))
    assert {name for name in named if f"`{name}`" not in metrics} == set()


def test_prometheus_understands_the_number_of_threads(tmp_path: Path) -> None:
    require_promtool()
    checked(tmp_path, blocks("operations.md", "promql"))
