"""Who did what: a line of JSON for each action, on standard output or in a file."""

import sys
import time
from pathlib import Path
from typing import Any

from sharded_queue.printable import json_line, utc
from sharded_queue.web.people import Person

NUMBERS = 1000
"""Of one action, named in its line; the others are counted."""


class Audit:
    def __init__(self, file: Path | None = None) -> None:
        self.file = file

    def say(
        self, person: Person, action: str, what: dict[str, Any], result: str, numbers: list[int] | None = None
    ) -> None:
        """*what*: the handler, thread and filter of the action. *result*: what became of it, in a sentence."""
        facts = {
            "time": utc(time.time()),
            "audit": action,
            "person": person.name,
            "role": person.role,
            **{name: value for name, value in what.items() if value not in ("", None)},
            "result": result,
        }
        if numbers is not None:
            facts |= {"count": len(numbers), "numbers": numbers[:NUMBERS]}
        line = f"{json_line(facts)}\n"
        if self.file:
            with self.file.open("a") as file:
                file.write(line)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()
