"""Generated parts of a page, between comments that name them. The rest of the page is written by hand."""

import re
from pathlib import Path


def write_part(page: Path, name: str, text: str) -> None:
    """
    Raises:
        ValueError: the page has no such part, or has it twice.
    """
    page.write_text(with_part(page.read_text(), name, text, str(page)))


def with_part(text: str, name: str, part: str, page: str = "the page") -> str:
    """*text* with *part* in place of what its part *name* is now."""
    begin, end = marks(name)
    after, count = pattern(name).subn(lambda _: f"{begin}\n\n{part}\n\n{end}", text)
    if count != 1:
        raise ValueError(f"{page} has the part {begin!r} … {end!r} {count} times, it must have it once")
    return after


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by a program -->", f"<!-- end of {name} -->"


def pattern(name: str) -> re.Pattern[str]:
    begin, end = marks(name)
    return re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
