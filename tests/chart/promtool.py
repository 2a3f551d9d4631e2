"""Prometheus's own parser and its own test of rules."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import REPOSITORY
from tests.harness.requirements import lack

SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def require_promtool() -> None:
    """Tests that need promtool are skipped on a machine without it; in CI that is an error."""
    if shutil.which("promtool"):
        return
    lack("no promtool on PATH: install Prometheus (Debian: apt install prometheus)")


def promtool(*arguments: str | Path) -> str:
    """What it said; an error of its becomes an assertion with it."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def checked(folder: Path, expressions: Iterable[str]) -> None:
    """Each expression is one that Prometheus understands."""
    rules = [{"record": f"checked:{number}", "expr": one} for number, one in enumerate(expressions)]
    file = folder / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    promtool("check", "rules", file)


def documented() -> set[str]:
    """The names under which the metrics of docs/metrics.md are scraped."""
    rows = re.findall(r"^\| `(sharded_queue_\w+)` \| (\w+) \|", (REPOSITORY / "docs/metrics.md").read_text(), re.M)
    assert rows
    return {name + suffix for name, kind in rows for suffix in SUFFIXES[kind]}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bsharded_queue_\w+", expression))


def write(file: Path, body: Any) -> Path:
    file.write_text(yaml.safe_dump(body, sort_keys=False))
    return file
