"""Workflows use fixed actions and few rights, and what they type is a word of the Makefile."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
WORDS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs() -> Iterator[Any]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield pytest.param(job, id=f"{path.stem}-{name}")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_fixed_by_the_hash_of_its_commit(path: Path) -> None:
    uses = re.findall(r"uses: (.+)$", path.read_text(), re.MULTILINE)

    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_and_each_job_names_its_own(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    assert [
        name for name, job in workflow["jobs"].items() if not job["permissions"] or not job["timeout-minutes"]
    ] == []


@pytest.mark.parametrize("job", list(jobs()))
def test_every_word_that_a_job_types_is_one_of_the_makefile(job: dict[str, Any]) -> None:
    typed = [step["run"] for step in job["steps"] if "run" in step]
    words = {word for run in typed for word in re.findall(r"\bmake ([a-z-]+)", run)}
    words.update(job.get("strategy", {}).get("matrix", {}).get("word", []))

    assert words <= WORDS


@pytest.mark.slow
def test_zizmor_finds_nothing() -> None:
    command = [Path(sys.executable).parent / "zizmor", *shlex.split(_options("zizmor")), ROOT / ".github"]
    found = subprocess.run(command, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout


def _options(program: str) -> str:
    """With which `make workflows` calls it."""
    found = re.search(rf"\$\(BIN\)/{program} (.+) \.github$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1]
