"""`python -m tools.docs [FOLDER]`: the site in FOLDER, or in build/docs. A warning of Sphinx is an error."""

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> int:
    strictly = ["--nitpicky", "--fail-on-warning", "--keep-going"]
    anew = ["--fresh-env", "--doctree-dir", str(folder.parent / "doctrees")]
    return build_main(
        ["--builder=html", "--quiet", "--conf-dir", str(ROOT / "docs"), *strictly, *anew, str(ROOT), str(folder)]
    )


if __name__ == "__main__":
    site = Path(*sys.argv[1:2]) if sys.argv[1:] else ROOT / "build" / "docs"
    if code := build(site):
        sys.exit(code)
    print((site / "index.html").absolute().as_uri())
