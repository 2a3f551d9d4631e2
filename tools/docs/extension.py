"""The extension that `docs/conf.py` names: which step of a build does what."""

import shutil
from pathlib import PurePosixPath
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

from tools.docs import api, examples
from tools.docs.docstrings import as_restructured
from tools.docs.navigation import navigation
from tools.docs.reference import filled

INDEX, PARTS = "docs/README", ("docs/decisions/README", "examples/README")
"""The pages whose lists are the navigation."""


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    app.connect("source-read", add_navigation)
    app.connect("source-read", add_files)
    app.connect("autodoc-process-docstring", translate)
    app.connect("build-finished", add_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    try:
        source[0] = filled(source[0])
    except ValueError as error:
        raise SphinxError(f"{page}: {error}") from error


def translate(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    owner = name if what == "class" else name.rpartition(".")[0]
    lines[:] = as_restructured(lines, api.links(owner))


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """The first page of the site holds the tables of the index. The pages of decisions and examples hold their own."""
    root = app.config.root_doc
    if page == INDEX:
        source[0] = f"---\norphan: true\n---\n\n{source[0]}"
    index = INDEX if page == root else page
    if page in (root, *PARTS):
        source[0] += "\n\n" + navigation((app.srcdir / f"{index}.md").read_text(), index, root)


def add_files(app: Sphinx, page: str, source: list[str]) -> None:
    folder = PurePosixPath(page).parent
    if folder.parent.name == "examples":
        source[0] += examples.listing(app.srcdir / folder)


def add_index(app: Sphinx, error: Exception | None) -> None:
    """A server shows index.html for the folder: the same page as the first one."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / f"{app.config.root_doc}.html", app.outdir / "index.html")
