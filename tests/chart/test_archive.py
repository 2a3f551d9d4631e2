"""The chart as it is published names the operator's image by its digest."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, REPOSITORY, of_kind, rendered
from tools.chart.archive import with_image

DIGEST = f"sha256:{'ab' * 32}"


def test_the_published_chart_runs_the_image_of_its_release(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(with_image((CHART / "values.yaml").read_text(), "ghcr.io/someone/operator", DIGEST))
    (deployment,) = of_kind(rendered("--values", values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert container["image"] == f"ghcr.io/someone/operator@{DIGEST}"
    assert yaml.safe_load(values.read_text())["replicas"] == 1


@pytest.mark.parametrize("image", ["", "operator", "operator:1.0.0", "operator@sha256:ab"])
def test_an_image_without_its_digest_is_refused(image: str) -> None:
    command = [sys.executable, "-m", "tools.chart.archive", image]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "by its digest, as in registry/name@sha256:…" in done.stderr
