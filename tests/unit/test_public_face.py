"""The public face changes on purpose only, as docs/compatibility.md promises."""

import re
from difflib import unified_diff
from pathlib import Path

from tools.public_face import MODULES, RECORDED, public_face

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def test_the_public_face_is_the_recorded_one() -> None:
    """A line that is gone breaks a user: docs/compatibility.md says when it may go. Then: `make public-face`."""
    changes = unified_diff(RECORDED.read_text().splitlines(), public_face().splitlines(), "recorded", "now", n=0)

    assert "\n".join(changes) == "", "if this is on purpose, and docs/compatibility.md allows it: make public-face"


def test_the_public_face_shows_no_private_name_and_no_address() -> None:
    for line in RECORDED.read_text().splitlines():
        assert not re.search(r"\._[a-z]|0x[0-9a-f]{6}", line), line


def test_the_page_names_the_modules_that_are_public() -> None:
    assert all(f"`{module}`" in PAGE.read_text() for module in MODULES)
