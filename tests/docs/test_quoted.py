"""What pages say of rates is what the last runs measured, and each claim has one number."""

import re
from pathlib import Path

import pytest

from bench.figure import number
from bench.page import pattern
from bench.quoted import CELLS, PAGE, QUOTED, cell, numbers, pages, with_numbers

RATE = re.compile(r"(\d[\d,]*)(<!-- = [^>]* -->)?(?: requests)?(?: of \d+ bytes)?\s(?:a\ssecond|/s)\b")
LEAST = 5_000
"""Lower rates are examples, or those of other programs."""


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_each_quoted_number_is_the_one_of_the_table(page: Path) -> None:
    """Two pages once gave one Redis 800,000 requests a second, and the table beside them 281,277."""
    text = page.read_text()

    assert with_numbers(text, numbers(PAGE.read_text())) == text


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_rate_is_written_by_hand(page: Path) -> None:
    text = pattern("growth").sub("", page.read_text())
    prose = "\n".join(line for line in text.splitlines() if page != PAGE or not line.startswith("|"))
    by_hand = [rate for rate, name in RATE.findall(prose) if float(rate.replace(",", "")) > LEAST and not name]

    assert not by_hand


def test_the_ceiling_of_one_redis_is_quoted_where_people_size_it() -> None:
    named = {page.name: {name for _, _, name in QUOTED.findall(page.read_text())} for page in pages()}

    assert {"one Redis, deep", "one Redis, sparse"} <= named["operations.md"] & named["benchmarks.md"] & named[
        PAGE.name
    ]
    assert set(CELLS) <= named["benchmarks.md"]


def test_a_new_run_changes_the_pages_that_quote_it() -> None:
    begin, column = CELLS["one Redis, sparse"]
    before = PAGE.read_text()
    after = before.replace(f"{begin} {cell(before, begin, column)}", f"{begin} 20,000")

    sentence = "up to 9,986<!-- = one Redis, sparse -->, or 100<!-- = µs of Redis, sparse --> µs"
    assert with_numbers(sentence, numbers(after)).startswith("up to 20,000<!--")
    assert f"or {number(50.0)}<!--" in with_numbers(sentence, numbers(after))
