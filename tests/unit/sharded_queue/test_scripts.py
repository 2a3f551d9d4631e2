import pytest

from sharded_queue.scripts import source


def test_a_script_begins_with_its_flags() -> None:
    assert source("settle").startswith("#!lua flags=allow-oom\nlocal base, lock = KEYS[1], KEYS[2]\n")


@pytest.mark.parametrize(
    ("script", "function", "is_needed"),
    [
        ("renew", "records_of", True),
        ("renew", "hand_out", False),
        ("bind", "hand_out", True),
        ("bind", "mend", True),
        ("bind", "schedule_of", False),
    ],
)
def test_a_script_carries_what_it_needs_of_the_prelude(script: str, function: str, is_needed: bool) -> None:
    """Also what only those functions need that it names, as `mend`, which is called by `hand_out` alone."""
    assert (f"local function {function}(" in source(script)) == is_needed
