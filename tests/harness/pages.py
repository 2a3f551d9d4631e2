"""The code that pages of the documentation print."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no {language} block"
    return found


def printed(page: str, language: str, place: int = 0) -> dict[str, Any]:
    """What a module defines that consists of one block of a page."""
    module = ModuleType(f"printed_{page.partition('.')[0].replace('/', '_').replace('-', '_')}")
    exec(compile(blocks(page, language)[place], page, "exec"), module.__dict__)
    return module.__dict__
