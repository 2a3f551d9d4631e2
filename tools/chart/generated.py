"""Every file of the chart that has its source elsewhere, with the text that it should have."""

from pathlib import Path

from tools.chart.values_readme import manual
from tools.dashboards import boards

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "sharded-queue"


def made() -> dict[Path, str]:
    return {
        CHART / "files" / "shardedqueues.yaml": (REPOSITORY / "crds" / "shardedqueues.yaml").read_text(),
        CHART / "README.md": manual((CHART / "values.yaml").read_text()),
        **{CHART / "files" / "dashboards" / f"{name}.json": text for name, text in boards().items()},
    }
