"""How `make docs` builds the site: Sphinx reads the Markdown pages of the whole repository where they are."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.docs.examples import repository  # noqa: E402 - the path comes first

project = author = "sharded-queue"
version = release = installed(project)
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "tools.docs.extension",
]
root_doc = "README"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/*/*.md",
    "charts/*/README.md",
    "examples/README.md",
    "examples/*/README.md",
]
exclude_patterns = [".*", "build", "tests", "tools", "worker", "operator"]
nitpicky = True
nitpick_ignore_regex = [
    # Types of Python and of redis-py, and those that users of the library never name.
    ("py:.*", r"(abc|asyncio|collections|contextlib|datetime|redis|types)\..*"),
    ("py:.*", r"list\[tuple\[str"),  # a default made by a factory, whose signature Sphinx cannot read
    ("py:.*", r"sharded_queue\.(\w+\.[A-Z]|admin\..*|serializer\..*|worker\.lane\..*|backends\..*|settings\.Settings)"),
]
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 6  # links to headings, as GitHub names them
myst_links_external_new_tab = False
highlight_language = "none"
smartquotes = False  # the pages have the signs that they mean, and --options have two dashes

html_theme = "furo"
html_title = "sharded-queue"
html_theme_options = {"source_repository": repository(), "source_branch": "main", "source_directory": ""}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["offline_search.js"]
html_search_scorer = str(ROOT / "docs" / "_static" / "search_scorer.js")
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
