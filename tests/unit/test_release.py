"""What the package, the chart and the changelog say of a release comes from one place, and stands alone on PyPI."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from readme_renderer.markdown import render

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY: str = PROJECT["urls"]["Repository"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


@cache
def description() -> str:
    """The README as the package takes it along."""
    return ProjectMetadata(str(ROOT), PluginManager()).core.readme


def test_the_version_is_written_once() -> None:
    of_prometheus = "text/plain; version="  # of its format, which may have the same number
    written = re.compile(rf"(?<![\d.])(?<!{of_prometheus}){re.escape(PROJECT['version'])}(?![\d.])")
    code = [path for folder in ("worker", "operator") for path in (ROOT / folder).rglob("*.py")]

    assert len(code) > 100
    assert [str(path) for path in code if written.search(path.read_text())] == []


def test_one_module_asks_which_release_is_installed() -> None:
    code = [path for folder in ("worker", "operator") for path in (ROOT / folder).rglob("*.py")]
    asking = [path for path in code if re.search(r"\bversion\(['\"]sharded-queue['\"]\)", path.read_text())]

    assert [path.name for path in asking] == ["release.py"]


@pytest.mark.parametrize("module", ["sharded_queue", "sharded_queue_operator"])
@pytest.mark.slow
def test_the_programs_say_the_version(module: str) -> None:
    command = [sys.executable, "-m", module, "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert said.split()[-1] == PROJECT["version"] == version("sharded-queue")


def test_the_chart_is_of_the_same_release() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "sharded-queue" / "Chart.yaml").read_text())

    assert chart["appVersion"] == PROJECT["version"]
    assert chart["home"] == REPOSITORY


def test_the_changelog_has_the_release_at_its_head() -> None:
    heads = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    links = dict(re.findall(r"^\[(.+?)\]: (\S+)$", CHANGELOG, re.MULTILINE))

    assert [name for name, _ in heads[:2]] == ["Unreleased", PROJECT["version"]]
    assert all(day for _, day in heads[1:])
    assert links == {
        "Unreleased": f"{REPOSITORY}/compare/v{PROJECT['version']}...HEAD",
        **{name: f"{REPOSITORY}/releases/tag/v{name}" for name, _ in heads[1:]},
    }


def test_the_changelog_begins_with_what_a_user_must_change() -> None:
    release = CHANGELOG.split("## [1.0.0]")[1]

    assert re.findall(r"^### (.+)$", release, re.MULTILINE) == ["What a user of 0.2.10 must change", "Added", "Fixed"]


def test_no_change_is_told_twice() -> None:
    """Two branches that write into it may both keep a line."""
    beginnings = re.findall(r"^- .{30}", CHANGELOG, re.MULTILINE)

    assert len(beginnings) == len(set(beginnings))


def test_the_readme_stands_alone_on_pypi() -> None:
    """Every link and picture is absolute, and leads to what the repository has at the tag of the release."""
    page = render(description())
    assert page
    addresses = re.findall(r'(?:href|src)="([^"#][^"]*)"', page)
    assert len(addresses) >= 15
    raw = REPOSITORY.replace("https://github.com", "https://raw.githubusercontent.com")
    ours = [f"{REPOSITORY}/blob/v{PROJECT['version']}/", f"{raw}/v{PROJECT['version']}/"]

    for address in addresses:
        assert address.startswith("https://"), address
        for prefix in ours:
            path = address.removeprefix(prefix).partition("#")[0]
            assert path.startswith("https://") or (ROOT / path).exists(), address
    assert [
        address for address in re.findall(r'<img[^>]* src="([^"]+)"', page) if not address.startswith(ours[1])
    ] == []


def test_every_address_of_the_project_is_in_its_repository() -> None:
    assert {name for name, address in PROJECT["urls"].items() if not address.startswith(REPOSITORY)} == set()


def test_images_begin_with_what_a_digest_names() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    (build,) = [step for step in jobs["images"]["steps"] if "build-push-action" in step.get("uses", "")]
    (base,) = [step for step in jobs["package"]["steps"] if step.get("id") == "base"]
    dockerfiles = [(ROOT / part / "Dockerfile").read_text() for part in jobs["images"]["strategy"]["matrix"]["part"]]

    assert build["with"]["build-args"] == "PYTHON=${{ needs.package.outputs.python }}"
    assert 'python=$PYTHON@$digest"' in base["run"]
    assert all(f"ARG PYTHON={base['env']['PYTHON']}\n" in dockerfile for dockerfile in dockerfiles)


def test_what_is_installed_where_a_token_can_be_had_is_locked() -> None:
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    jobs = yaml.safe_load(workflow)["jobs"]
    installs = [line for line in workflow.splitlines() if re.search(r"\bpip install\b|\buvx\b|\buv tool\b", line)]
    (uv,) = [step["with"] for step in jobs["pypi"]["steps"] if "setup-uv" in step.get("uses", "")]

    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert f"\nuv=={uv['version']} " in (ROOT / "requirements.lock").read_text()
    assert "\npypi-attestations==" in (ROOT / "signing-requirements.lock").read_text()


def test_every_python_that_is_promised_is_tested() -> None:
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())

    assert PROJECT["requires-python"] == f">={named[0]}"
    assert [named[0], named[-1]] == workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
