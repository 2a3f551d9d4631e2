"""What a release is called and what is new in it: `tagged TAG` checks the tag, `notes TAG` prints its changes."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    word, tag = sys.argv[1:]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    if fault := fault_of(tag, version, changelog):
        sys.exit(fault)
    if word == "notes":
        print(notes(changelog, version))


def fault_of(tag: str, version: str, changelog: str) -> str | None:
    """Why *tag* does not name a release of this tree, if it does not."""
    if tag != f"v{version}":
        return f"the tag is {tag!r}, and pyproject.toml has version {version}: the tag must be v{version}"
    if notes(changelog, version) is None:
        return f"CHANGELOG.md has no section '## [{version}] - DATE'"
    if notes(changelog, "Unreleased"):
        return f"CHANGELOG.md has changes under '## [Unreleased]': move them under '## [{version}]'"
    return None


def notes(changelog: str, version: str) -> str | None:
    """The section of one version, without its head and without the addresses at the end of the file."""
    found = re.search(rf"^## \[{re.escape(version)}\].*\n((?:(?!## \[|\[[^\]]+\]: ).*\n?)*)", changelog, re.MULTILINE)
    return found[1].strip() if found else None


if __name__ == "__main__":
    main()
