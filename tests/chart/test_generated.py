"""Generated files are up to date: the definition, the README, the dashboards."""

from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, REPOSITORY, of_kind, rendered
from tools.chart.generated import generated
from tools.chart.values_readme import values_readme
from tools.dashboards import boards
from tools.pictures import DOCS, RECORDED, pictures

CRD = yaml.safe_load((REPOSITORY / "crds" / "shardedqueues.yaml").read_text())


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_file_is_what_its_source_makes_of_it(path: Path) -> None:
    assert path.read_text() == generated()[path], "type: make chart"


def test_pictures_are_what_the_recorded_run_makes_of_them() -> None:
    """Of the dashboards as they are now: a query that is newer than the recording has no answer."""
    drawn = pictures(boards())

    assert {path: path.read_text() for path in drawn} == drawn, "type: make chart"
    assert set(DOCS.iterdir()) == set(drawn)


def test_pictures_and_their_recording_stay_small() -> None:
    assert all(path.stat().st_size < 150_000 for path in DOCS.iterdir())
    assert RECORDED.stat().st_size < 200_000


def test_no_dashboard_is_left_over() -> None:
    kept = set((CHART / "files" / "dashboards").iterdir())

    assert kept <= set(generated())


def test_the_definition_is_installed_as_it_is_and_kept() -> None:
    (installed,) = of_kind(rendered(), "CustomResourceDefinition")

    assert installed["spec"] == CRD["spec"]
    assert installed["metadata"]["name"] == CRD["metadata"]["name"]
    assert installed["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definition_can_be_left_out() -> None:
    assert not of_kind(rendered("--set", "crds.install=false"), "CustomResourceDefinition")


def test_a_value_without_a_comment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image\.tag has no comment"):
        values_readme("# -- The image.\nimage:\n  tag: dev\n")


def test_dashboards_reach_the_sidecar_whole() -> None:
    maps = of_kind(rendered("--set", "monitoring.dashboards.enabled=true"), "ConfigMap")
    boards = {path.name: path.read_text() for path in (CHART / "files" / "dashboards").iterdir()}

    assert {name: text for each in maps for name, text in each["data"].items()} == boards
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
