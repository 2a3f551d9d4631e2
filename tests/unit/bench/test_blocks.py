"""The table of blocks has a line for each script of the engine."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from bench.growth.block import LONGEST_MS, Block, Measured
from bench.growth.blocks import BLOCKS, page, table
from bench.growth.steps import handling
from bench.growth.steps.registering import LARGEST
from sharded_queue import SettingsError
from sharded_queue.settings import Settings
from sharded_queue.storage import MOST_PRIORITIES


def test_each_script_has_a_line():
    """A new one needs a line in `bench/growth/steps`: what bounds it, and how to bring it there."""
    folder = files("sharded_queue.backends.redis") / "lua"
    scripts = {file.name.removesuffix(".lua") for file in folder.iterdir() if not file.name.startswith("_")}

    assert {block.script for block in BLOCKS} == scripts


ROOT = Path(__file__).parents[3]
BOUND = re.compile(
    r"^([A-Z_]+_AT_ONCE|STEP_[A-Z]+|THREADS_BOUND|DROP_REACH|CALL_BYTES|MOST_PRIORITIES|MOST_AHEAD)\b", re.M
)
PACKAGE = ROOT / "worker" / "sharded_queue"
FOLDERS = (PACKAGE, PACKAGE / "backends" / "redis", PACKAGE / "queue", PACKAGE / "worker")
LINES = "".join(file.read_text() for file in (ROOT / "bench" / "growth" / "steps").glob("*.py"))


def bounds() -> set[str]:
    """The constants that bound what one call of a script is given."""
    found = {name for folder in FOLDERS for file in folder.glob("*.py") for name in BOUND.findall(file.read_text())}
    return found | {"STEP_BYTES"}


@pytest.mark.parametrize("name", sorted(bounds()))
def test_each_bound_is_what_a_line_brings_its_script_to(name: str) -> None:
    """By its own name, so that a bound that is raised is measured as it is."""
    assert re.search(rf"\b{name}\b", LINES), f"no line of bench/growth/steps is at {name}"


def test_the_bounds_of_scripts_are_those_of_their_lines() -> None:
    """What is a constant of the scripts is repeated in the lines."""
    prelude = (PACKAGE / "backends" / "redis" / "lua" / "_prelude.lua").read_text()

    assert f"SWEEP, CALLER_SECONDS = '{handling.SWEEP}'" in prelude
    assert f"PROMOTED_BYTES = {handling.DUE_BYTES}\n" in prelude
    assert f"MOST_PRIORITIES = {MOST_PRIORITIES}\n" in prelude


def test_the_largest_request_is_measured() -> None:
    settings = Settings()
    settings.register_message_bytes = LARGEST
    with pytest.raises(SettingsError):
        settings.register_message_bytes = LARGEST + 1


def test_no_two_lines_say_the_same():
    lines = [(block.script, block.bounds) for block in BLOCKS]

    assert len(lines) == len(set(lines))


async def act(*_: object) -> None:
    """Not measured here."""


def measured(script: str, longest_ms: float) -> Measured:
    return Measured(Block(script, "at its bounds", act), longest_ms)


def test_the_longest_block_comes_first():
    _, *rows = table([measured("bind", 3), measured("settle", 12.34)])

    assert rows == [("`settle`", "at its bounds", "12.3"), ("`bind`", "at its bounds", "3")]


def test_a_step_that_is_too_long_is_named():
    text = page([measured("bind", LONGEST_MS), measured("repair", LONGEST_MS + 1)], {"Machine": "2 cores"})

    assert "Above 50 ms: repair." in text
    assert "No step is above" not in text
