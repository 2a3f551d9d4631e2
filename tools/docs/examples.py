"""The files of an example, printed at the end of its page: a reader of the site has no folder to look into."""

from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

LANGUAGES = {".py": "python", ".mjs": "javascript", ".yaml": "yaml", "": "docker"}
"""By suffix. A Dockerfile has none."""


def repository() -> str:
    """Its address, as pyproject.toml has it."""
    addresses = dict(line.split(", ", 1) for line in metadata("sharded-queue").get_all("Project-URL", []))
    repository: str = addresses["Repository"]
    return repository


def files(folder: Path) -> list[Path]:
    """Those with content, the folder's own first."""
    found = [each for each in folder.rglob("*") if each.is_file() and each.suffix in LANGUAGES and each.stat().st_size]
    return sorted(found, key=lambda each: (len(each.relative_to(folder).parts), each))


def listing(folder: Path) -> str:
    return "\n".join(parts(folder))


def parts(folder: Path) -> Iterator[str]:
    address = f"{repository()}/tree/main/examples/{folder.name}"
    yield f"\n## Files\n\nAll of them are in the repository, in [examples/{folder.name}]({address}).\n"
    for file in files(folder):
        name = file.relative_to(folder).as_posix()
        yield f"### `{name}`\n\n```{{literalinclude}} {name}\n:language: {LANGUAGES[file.suffix]}\n```\n"
