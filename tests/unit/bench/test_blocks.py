"""The table of blocks has a line for each script of the engine."""

from importlib.resources import files

from bench.growth.block import LONGEST_MS, Block, Measured
from bench.growth.blocks import BLOCKS, page, table


def test_each_script_has_a_line():
    """A new one needs a line in `bench/growth/steps`: what bounds it, and how to bring it there."""
    folder = files("sharded_queue.backends.redis") / "lua"
    scripts = {file.name.removesuffix(".lua") for file in folder.iterdir() if not file.name.startswith("_")}

    assert {block.script for block in BLOCKS} == scripts


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
