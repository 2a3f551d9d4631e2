"""What others wrote becomes text that moves no cursor and ends no line, and still can be told apart."""

import json
import sys

import pytest

from sharded_queue import Lease, Tube
from sharded_queue.printable import counted, json_line, printable
from sharded_queue.tube import Shard

HOSTILE = "T\x1b]0;title\x07\x1b[2J\r\nFORGED LINE\u202e\x9b31m\x7f\u2028\udcff"


@pytest.mark.slow
def test_nothing_that_a_terminal_or_a_log_obeys_is_left() -> None:
    for code in range(sys.maxunicode + 1):
        assert printable(chr(code)).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 日本 🚚 a b", "Zoë 日本 🚚 a b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r", "a\\nb\\r"),
        ("\u202e", "\\u202e"),
        (b"\xff\x00n\xc3\xb6", "\\xff\\x00nö"),
        ("\udcff", "\\udcff"),
        (7, "7"),
    ],
)
def test_what_can_be_read_stays_and_the_rest_is_spelled_out(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    assert printable("x" * 3000, 10) == "xxxxxxxxxx… (2,990 characters more)"


def test_an_object_that_cannot_be_shown_is_shown_by_its_type() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert printable(Broken()) == "<Broken that cannot be shown>"


def test_json_means_the_same_and_is_safe_to_show() -> None:
    hostile = {"name": HOSTILE.removesuffix("\udcff"), "ö": ["🚚", "\U000e0001"]}
    line = json_line(hostile)

    assert line.isprintable()
    assert json.loads(line) == hostile
    assert "🚚" in line


def test_a_lease_and_a_tube_are_printable_whatever_their_names() -> None:
    shard = Shard(f"evil{HOSTILE}")

    assert str(Lease(shard, HOSTILE, "w/1", 3)).isprintable()
    assert str(Tube(shard, HOSTILE, 0)).isprintable()


def test_one_is_no_plural() -> None:
    assert [counted(number, "request") for number in (0, 1, 2000)] == ["0 requests", "1 request", "2,000 requests"]
