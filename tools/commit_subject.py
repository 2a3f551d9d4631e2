"""Refuse a commit whose subject is longer than 72 characters or runs into its body; called with the message's file."""

import sys
from pathlib import Path

LONGEST = 72


def fault(message: str) -> str | None:
    """What is wrong with a commit message, if anything."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if len(subject) > LONGEST:
        return f"the subject has {len(subject)} characters; the most is {LONGEST}: {subject}"
    if len(lines) > 1 and lines[1]:
        return "leave the line after the subject empty"
    return None


if __name__ == "__main__":
    if found := fault(Path(sys.argv[1]).read_text("utf-8")):
        sys.exit(found)
