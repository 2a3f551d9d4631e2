"""Every query of every panel is one that Prometheus understands, about metrics that exist."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import CHART
from tests.chart.promtool import checked, documented, named, promtool, require_promtool, write

BOARDS = {file.stem: json.loads(file.read_text()) for file in (CHART / "files" / "dashboards").glob("*.json")}
each_board = pytest.mark.parametrize("name", BOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] not in {"row", "text"}]


def expressions(name: str) -> list[str]:
    """As Grafana would send them, with something chosen for each variable."""
    return [filled(target["expr"]) for panel in panels(name) for target in panel["targets"]]


def filled(expr: str) -> str:
    return re.sub(r"\$(\w+)", "chosen", expr.replace("$__rate_interval", "5m"))


def test_there_are_two() -> None:
    assert set(BOARDS) == {"queues", "operator"}


@each_board
def test_expressions_are_understood(name: str, tmp_path: Path) -> None:
    require_promtool()

    checked(tmp_path, expressions(name))


@each_board
def test_queries_ask_for_documented_metrics_only(name: str) -> None:
    variables = [variable["query"] for variable in BOARDS[name]["templating"]["list"]]

    assert set().union(*map(named, [*expressions(name), *variables])) <= documented()


@each_board
def test_what_workers_repeat_is_never_summed(name: str) -> None:
    """Each tells the same of Redis, so a sum would count a queue as often as it has workers."""
    for expr in expressions(name):
        if "sharded_queue_handler_" in expr or "sharded_queue_tube_" in expr:
            assert "sum" not in expr


@each_board
def test_every_panel_says_what_it_shows(name: str) -> None:
    assert all(panel["title"] and panel["description"] for panel in panels(name))


@each_board
def test_variables_in_queries_are_declared(name: str) -> None:
    declared = {variable["name"] for variable in BOARDS[name]["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z_]+)", json.dumps(BOARDS[name])))

    assert used <= {*declared, "__rate_interval"}


@each_board
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_first_row_is_the_answer() -> None:
    """Which tube lags most, why, since when, and who holds it: seen without scrolling, in this order."""
    first = [panel["title"] for panel in BOARDS["queues"]["panels"] if panel["gridPos"]["y"] == 1]

    assert first == ["Longest wait", "Which tube?", "Why?", "Since when?", "Who holds it?"]


def ask_promtool(folder: Path, series: Mapping[str, str], answers: Sequence[tuple[str, str, float]]) -> None:
    """
    Fail unless each query has its one answer after ten minutes of *series*, by name, with a sample a minute. *answers*:
    query, labels and value of each.
    """
    body = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": "10m", "exp_samples": [{"labels": labels, "value": value}]}
            for expr, labels, value in answers
        ],
    }
    promtool("test", "rules", write(folder / "tests.yaml", {"tests": [body]}))


def test_a_handler_without_requests_has_no_wait(tmp_path: Path) -> None:
    """A quantile of nothing is NaN, which a panel would show as a value."""
    require_promtool()
    (panel,) = [panel for panel in panels("queues") if panel["title"] == "Wait before the first try"]
    p99, p50 = (filled(target["expr"]) for target in panel["targets"])
    busy, idle = (f'namespace="chosen", queue="chosen", handler="{name}"' for name in ("busy", "idle"))
    up_to = {"0.1": 50, "1": 99, "+Inf": 100}
    counts = {f'{{{busy}, le="{bound}"}}': f"0+{count}x10" for bound, count in up_to.items()}
    counts |= {f'{{{idle}, le="{bound}"}}': "0x10" for bound in up_to}
    series = {f"sharded_queue_worker_wait_seconds_bucket{labels}": values for labels, values in counts.items()}

    ask_promtool(tmp_path, series, [(expr, f"{{{busy}}}", seconds) for expr, seconds in ((p99, 1), (p50, 0.1))])


def test_of_two_workers_the_one_that_answered_sooner_tells_since_when(tmp_path: Path) -> None:
    """Lag grows while a scrape waits, so a slow answer puts the registration too early."""
    require_promtool()
    (panel,) = [panel for panel in panels("queues") if panel["title"] == "Since when?"]
    (target,) = panel["targets"]
    tube = 'namespace="chosen", queue="chosen", handler="h", thread="t", priority="0"'
    lags = {"quick": "60+60x10", "slow": "65+60x10"}
    series = {f'sharded_queue_tube_lag_seconds{{{tube}, pod="{pod}"}}': values for pod, values in lags.items()}

    ask_promtool(tmp_path, series, [(filled(target["expr"]), f"{{{tube}}}", -60_000)])
