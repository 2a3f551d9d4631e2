"""Each alert fires when it should, in the words it should, stays silent when it should, and has a page to read."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, REPOSITORY, of_kind, rendered, values
from tests.chart.promtool import checked, documented, named, promtool, require_promtool, write

RUNBOOKS = REPOSITORY / "docs" / "runbooks.md"
CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}


def rules(*arguments: Any) -> dict[str, Any]:
    """What the chart gives to the Prometheus Operator."""
    (found,) = of_kind(rendered("--set", "monitoring.rules.enabled=true", *arguments), "PrometheusRule")
    spec: dict[str, Any] = found["spec"]
    return spec


def alerts(spec: dict[str, Any]) -> dict[str, Any]:
    return {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}


def cases_of(alert: str) -> list[dict[str, Any]]:
    """The cases of an alert as promtool takes them."""
    fires = [promtool_test(alert, case, [expected(alert, case)]) for case in CASES[alert]["fires"]]
    return fires + [promtool_test(alert, case, []) for case in CASES[alert]["silent"]]


def promtool_test(alert: str, case: dict[str, Any], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    series = [{"series": name, "values": text} for name, text in case["series"].items()]
    asked = [{"eval_time": case["at"], "alertname": alert, "exp_alerts": alerts}]
    return {"interval": "1m", "input_series": series, "alert_rule_test": asked}


def expected(alert: str, case: dict[str, Any]) -> dict[str, Any]:
    link = f"https://github.com/basis-company/sharded-queue.py/blob/main/docs/runbooks.md#{alert.lower()}"
    return {
        "exp_labels": {**case["labels"], **ALERTS[alert]["labels"]},
        "exp_annotations": {"summary": case["summary"], "runbook_url": link},
    }


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_fires_and_stays_silent(alert: str, tmp_path: Path) -> None:
    require_promtool()
    write(tmp_path / "rules.yaml", rules())
    body = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases_of(alert)}

    promtool("test", "rules", write(tmp_path / "tests.yaml", body))


def test_every_alert_has_cases_of_both_kinds() -> None:
    assert list(CASES) == list(ALERTS)
    assert all(cases["fires"] and cases["silent"] for cases in CASES.values())


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.M)

    assert pages == list(ALERTS)


def test_every_page_says_what_it_means_and_what_to_do() -> None:
    for page in RUNBOOKS.read_text().split("\n## ")[1:]:
        name = page.partition("\n")[0]
        assert "**Means**" in page, name
        assert "**Look**" in page, name
        assert "**Do**" in page, name


def test_alerts_use_documented_metrics_only() -> None:
    assert set().union(*(named(rule["expr"]) for rule in ALERTS.values())) <= documented()


def test_expressions_are_understood(tmp_path: Path) -> None:
    require_promtool()

    checked(tmp_path, [rule["expr"] for rule in ALERTS.values()])


def test_alerts_can_be_left_out_and_changed() -> None:
    ours = alerts(rules(*values("monitored")))

    assert set(ALERTS) - set(ours) == {"ShardedQueueRefused"}
    assert ours["ShardedQueueLags"]["for"] == "30m"
    assert ours["ShardedQueueLags"]["labels"] == {"severity": "critical", "team": "shop"}
    assert ours["ShardedQueueLags"]["expr"] == ALERTS["ShardedQueueLags"]["expr"]
    link = "https://docs.example/runbooks#shardedqueuelags"
    assert ours["ShardedQueueLags"]["annotations"]["runbook_url"] == link


def test_values_name_alerts_that_there_are() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    assert schema["definitions"]["alert"]["enum"] == list(ALERTS)
