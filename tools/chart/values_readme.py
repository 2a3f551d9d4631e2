"""The README of the chart: an introduction, and every value of values.yaml with its default and its comment."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

INTRODUCTION = Path(__file__).with_name("introduction.md")
KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")
BEGIN, INDENT = "# -- ", 2


class Value(NamedTuple):
    path: tuple[str, ...]
    comment: str


def values_readme(values: str) -> str:
    """
    Raises:
        ValueError: a value has no comment.
    """
    defaults, described = yaml.safe_load(values), list(documented(values))
    parents = {value.path[:-1] for value in described}
    rows = [row(value, default_of(defaults, value.path), value.path in parents) for value in described]
    return f"{INTRODUCTION.read_text()}\n| value | default | meaning |\n|---|---|---|\n{''.join(rows)}"


def documented(values: str) -> Iterator[Value]:
    """Each key with the comment before it, in the order of the file."""
    path: list[str] = []
    comment: list[str] = []
    for line in values.splitlines():
        text = line.strip()
        if text.startswith(BEGIN):
            comment = [text.removeprefix(BEGIN)]
        elif text.startswith("# "):
            comment.append(text.removeprefix("# "))
        elif found := KEY.match(line):
            path = [*path[: len(found[1]) // INDENT], found[2]]
            if not comment:
                raise ValueError(f"values.yaml: {'.'.join(path)} has no comment")
            yield Value(tuple(path), " ".join(comment))
            comment = []


def default_of(defaults: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        defaults = defaults[key]
    return defaults


def row(value: Value, default: Any, is_parent: bool) -> str:
    name = ".".join(value.path)
    shown = "" if is_parent else f"`{json.dumps(default, ensure_ascii=False)}`"
    return f"| `{name}` | {shown} | {value.comment.replace('|', chr(92) + '|')} |\n"
