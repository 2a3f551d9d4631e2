"""Who did what: a line of JSON for each action, on standard output or in a file."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharded_queue.errors import ShardedQueueError
from sharded_queue.printable import json_line, printable, utc
from sharded_queue.web.people import Person

NUMBERS = 1000
"""Of one action, named in its line; the others are counted."""


class AuditLost(ShardedQueueError):
    """What a person did cannot be written down."""


class Audit:
    """
    Raises:
        AuditLost: *file* cannot be written to.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        if file:
            self._write("")

    def say(
        self, person: Person, action: str, what: dict[str, Any], result: str, numbers: Sequence[int] | None = None
    ) -> None:
        """
        *what*: the handler, thread and filter of the action. *result*: what became of it, in a sentence.

        Raises:
            AuditLost: it cannot be written.
        """
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
        self._write(f"{json_line(facts)}\n")

    def _write(self, line: str) -> None:
        try:
            if self.file:
                with open(self.file, "a", opener=open_for_owner) as file:
                    file.write(line)
            else:
                sys.stdout.write(line)
                sys.stdout.flush()
        except OSError as error:
            where = printable(self.file or "on standard output")
            raise AuditLost(f"the audit log {where} cannot be written: {error.strerror}") from error


def open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
