"""Completion in a real shell, as docs/cli.md sets it up."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("sharded-queue")
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("p", {"pause", "paused", "peek"}),
        ("dead ", {"list", "replay", "drop"}),
        ("worker --log-f", {"--log-format"}),
        ("worker --log-format ", {"text", "json"}),
    ],
)
def test_bash_completes_commands_options_and_their_values(words: str, expected: set[str]) -> None:
    (line,) = re.findall(r"^eval .+bash_source.+$", DOCS.read_text(), re.MULTILINE)
    given = ["sharded-queue", *words.split(" ")]
    script = f"""
{line}
complete -p sharded-queue >/dev/null
COMP_WORDS=({" ".join(repr(word) for word in given)}) COMP_CWORD={len(given) - 1}
_sharded_queue_completion sharded-queue
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    assert set(done.stdout.split()) >= expected
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script_of_their_own(shell: str) -> None:
    environment = {**os.environ, "_SHARDED_QUEUE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert f"_SHARDED_QUEUE_COMPLETE={shell}_complete" in done.stdout
    if path := shutil.which(shell):
        subprocess.run([path, "-n"], input=done.stdout, text=True, timeout=60, check=True)
