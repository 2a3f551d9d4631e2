"""Nothing gets into an image that no lock names with its hash."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted(ROOT.glob("*/Dockerfile"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_what_pip_installs_is_hashed_or_was_built_before(file: Path) -> None:
    commands = re.findall(r"pip (?:--python \S+ )?(install|wheel) (.*?)(?: \\)?$", file.read_text(), re.MULTILINE)

    assert len(commands) == 4
    for word, arguments in commands:
        wanted = {"--no-build-isolation"} if word == "wheel" else {"--require-hashes", "--no-index"}
        assert wanted & set(arguments.split()), f"pip {word} {arguments}"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_every_stage_stands_on_the_image_that_a_release_names_by_digest(file: Path) -> None:
    assert set(re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)) == {"${PYTHON}", "dependencies"}


def test_a_worker_finds_the_standard_library_compiled() -> None:
    """The public image of Python has no bytecode, and the user of the worker's image cannot write any."""
    *_, final = (ROOT / "worker" / "Dockerfile").read_text().split("\nFROM ")

    assert "python -m compileall" in final.partition("PYTHONDONTWRITEBYTECODE")[0]


def test_there_are_images() -> None:
    assert [file.parent.name for file in DOCKERFILES] == ["operator", "worker"]
