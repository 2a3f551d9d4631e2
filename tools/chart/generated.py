"""The generated files of the chart, with the text that each should have."""

import re
import tomllib
from pathlib import Path

from tools.chart.values_readme import values_readme
from tools.dashboards import boards

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "sharded-queue"


def generated() -> dict[Path, str]:
    return {
        CHART / "Chart.yaml": chart_yaml((CHART / "Chart.yaml").read_text()),
        CHART / "files" / "shardedqueues.yaml": (REPOSITORY / "crds" / "shardedqueues.yaml").read_text(),
        CHART / "README.md": values_readme((CHART / "values.yaml").read_text()),
        **{CHART / "files" / "dashboards" / f"{name}.json": text for name, text in boards().items()},
    }


def chart_yaml(text: str) -> str:
    """The chart's own file, with version and addresses of `pyproject.toml`: chart and package are released together."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    address = project["urls"]["Repository"]
    values = {
        "version": semantic(project["version"]),
        "appVersion": project["version"],
        "home": address,
        "sources": f"[{address}]",
    }
    for name, value in values.items():
        text, found = re.subn(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
        assert found == 1, f"Chart.yaml has {found} lines {name}"
    return text


def semantic(version: str) -> str:
    """A Python version as Helm wants it: 1.0.0rc1 is 1.0.0-rc.1."""
    return re.sub(r"\.?(dev|a|b|rc)(\d+)$", r"-\1.\2", version)
