"""The navigation of the site, from the lists of its index: one list, which people read on GitHub as well."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import normpath

HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
ITEM = re.compile(r"^[-|] \[([^\]]+)\]\(([^)#:]+\.md)\)", re.MULTILINE)
"""An item of a list, or a row of a table, that begins with a link to a page."""


def navigation(index: str, name: str, root: str) -> str:
    """
    A hidden table of contents for each list of *index*, the page *name*, with the heading above it as its caption. The
    page *root* holds the tables, and is in none of them.
    """
    first, *sections = HEADING.split(index)
    lists = [("", first), *zip(sections[::2], sections[1::2], strict=True)]
    return "\n".join(
        table(caption, entries) for caption, items in lists if (entries := [*entries_of(items, name, root)])
    )


def entries_of(items: str, name: str, root: str) -> Iterator[str]:
    for title, link in ITEM.findall(items):
        page = normpath(PurePosixPath(name).parent / link).removesuffix(".md")
        if page != root:
            yield f"{title} </{page}>"


def table(caption: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}" if caption else "", "", *entries, "```", ""])
