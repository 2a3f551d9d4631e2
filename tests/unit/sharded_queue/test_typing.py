"""Type checkers accept the requests that a handler takes, and refuse all others. Both read `typed_requests.py`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).with_name("typed_requests.py")
ROOT = Path(__file__).parents[3]
SECONDS = 110


def refused_lines() -> set[int]:
    return {number for number, line in enumerate(SOURCE.read_text().splitlines(), 1) if line.endswith("# refused")}


def test_mypy_refuses_the_wrong_requests_and_no_others(tmp_path: Path) -> None:
    """As strict as it gets: a user who leaves the type of the requests out hears nothing of it."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    words = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path), str(SOURCE)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)

    found = {int(line) for line in re.findall(rf"{SOURCE.name}:(\d+): error", done.stdout)}
    assert found == refused_lines(), done.stdout + done.stderr


def test_pyright_refuses_the_wrong_requests_and_no_others(tmp_path: Path) -> None:
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps({"include": [str(SOURCE)], "typeCheckingMode": "strict", "reportUnusedCoroutine": True})
    )
    words = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(config)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)

    errors = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    found = {each["range"]["start"]["line"] + 1 for each in errors}
    assert found == refused_lines(), [(each["range"]["start"]["line"] + 1, each["message"]) for each in errors]
