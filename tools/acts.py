"""
What the manual says of the acts of people, made from their definitions. `make acts` writes it: the table of
docs/cli.md, the roles of docs/console.md, and the JSON of all commands, docs/cli.schema.json.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args

import msgspec

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, given_fields
from sharded_queue.web.actions import ACTIONS

DOCS = Path(__file__).parents[1] / "docs"
ACTS: dict[str, type[Act[Any]]] = {button.act.name: button.act for button in ACTIONS.values()}
LOOKS = {
    "threads": list[answers.Shard],
    "lag": list[answers.Lag],
    "explain": answers.Thread,
    "workers": answers.Worker,
    "peek": answers.Peeked,
    "dead list": answers.Letter,
    "dropped": answers.Drop,
    "schedules list": answers.Schedule,
    "delayed list": answers.Delayed,
    "paused": answers.Paused,
    "check": answers.Checked,
    "--dry-run": answers.Plan,
}
"""
What commands say that only look: in one line, or in a line for each thing (`workers`, `peek`, `paused`, `dropped`, and
those that list).
"""
TABLE = re.compile(r"^\| command \| right \|.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r"^\| (operator|admin) \| also (.*) \|$", re.MULTILINE)


def main() -> None:
    """Write what has changed."""
    for path, text in manual():
        path.write_text(text)


def manual() -> Iterator[tuple[Path, str]]:
    """Each page that speaks of acts, and what it should be."""
    commands, console = DOCS / "cli.md", DOCS / "console.md"
    yield commands, TABLE.sub(lambda _: table(), commands.read_text())
    yield console, ROLE.sub(lambda row: f"| {row[1]} | also {may(row[1])} |", console.read_text())
    yield DOCS / "cli.schema.json", json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def table() -> str:
    """What each act does, and who may do it."""
    rows = [
        f"| `{typed(act)}` | {act.right} | {' '.join(cleandoc(act.__doc__ or '').split())} | `{place_of(act)}` |"
        for _, act in sorted(ACTS.items())
    ]
    return "\n".join(["| command | right | what it does | act |", "|---|---|---|---|", *rows])


def typed(act: type[Act[Any]]) -> str:
    """Its command, with what has to be said or may be left out."""
    words = [(each, how) for each, how in given_fields(act) if not (how.is_option or how.is_flag or how.is_hidden)]
    names = [(how.name.upper() + ("…" if how.is_list else ""), each.default is MISSING) for each, how in words]
    return " ".join([act.name, "HANDLER", *[name if is_needed else f"[{name}]" for name, is_needed in names]])


def place_of(act: type[Act[Any]]) -> str:
    return f"{act.__module__.rpartition('.')[2]}.{act.__name__}"


def may(right: str) -> str:
    """The acts that a right allows, in the order of the console's buttons."""
    return ", ".join(f"`{name}`" for name, act in ACTS.items() if act.right == right)


def schema() -> dict[str, Any]:
    """The JSON schema of all answers: `$defs` of the types, and the schema of one line of each command."""
    said = LOOKS | {name: answer_of(act) for name, act in ACTS.items()}
    lines, types = msgspec.json.schema_components(said.values())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the commands of sharded-queue say with --json",
        "commands": dict(zip(said, lines, strict=True)),
        "$defs": types,
    }


def answer_of(act: type[Any]) -> type[msgspec.Struct]:
    """The type of what an act answers: that of its class, or of one of those that it extends."""
    for base in getattr(act, "__orig_bases__", ()):
        if found := [each for each in get_args(base) if isinstance(each, type)]:
            answer: type[msgspec.Struct] = found[0]
            return answer
    return answer_of(act.__mro__[1])


if __name__ == "__main__":
    main()
