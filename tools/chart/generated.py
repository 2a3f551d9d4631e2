"""The generated files of the chart, with the text that each should have."""

from pathlib import Path

from tools.chart.values_readme import values_readme
from tools.dashboards import boards

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "sharded-queue"


def generated() -> dict[Path, str]:
    return {
        CHART / "files" / "shardedqueues.yaml": (REPOSITORY / "crds" / "shardedqueues.yaml").read_text(),
        CHART / "README.md": values_readme((CHART / "values.yaml").read_text()),
        **{CHART / "files" / "dashboards" / f"{name}.json": text for name, text in boards().items()},
    }
