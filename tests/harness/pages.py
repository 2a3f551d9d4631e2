"""The code that pages of the documentation print."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(
    r"^(<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)


def blocks(page: str, language: str, *, is_run: bool = True) -> list[str]:
    """The blocks that run; without *is_run*, those that are marked with the reason why they do not."""
    fences = [match for match in FENCE.finditer((DOCS / page).read_text()) if match["language"] == language]
    return [match["code"] for match in fences if bool(match["why"]) != is_run]


def printed(page: str, name: str) -> dict[str, Any]:
    """What a module of this name defines that consists of the Python blocks of a page, one after another."""
    code = blocks(page, "python")
    assert code, f"{page} has no Python block that runs"
    sys.modules[name] = module = ModuleType(name)
    for block in code:
        exec(compile(block, page, "exec"), module.__dict__)
    return module.__dict__
