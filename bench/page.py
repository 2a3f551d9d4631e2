"""Generated parts of a page, between comments that name them. The rest of the page is written by hand."""

import re
from pathlib import Path


def write_part(page: Path, name: str, text: str) -> None:
    """
    Raises:
        ValueError: the page has no such part, or has it twice.
    """
    begin, end = f"<!-- {name}: written by a program -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    after, count = pattern.subn(lambda _: f"{begin}\n\n{text}\n\n{end}", page.read_text())
    if count != 1:
        raise ValueError(f"{page} has the part {begin!r} … {end!r} {count} times, it must have it once")
    page.write_text(after)
