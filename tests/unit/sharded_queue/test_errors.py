"""What foreign code raised, in a line that is safe to show."""

from sharded_queue.errors import describe


class SilentError(Exception):
    def __str__(self) -> str:
        return self.missing  # type: ignore[attr-defined, no-any-return]  # as in many hand-written errors


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def test_an_error_is_described_by_type_and_message() -> None:
    assert describe(ValueError("no")) == "ValueError: no"


def test_an_error_that_cannot_be_printed_is_described_by_its_type() -> None:
    assert describe(SilentError()) == "SilentError: (its message cannot be read)"
    assert describe(LeavingError()) == "LeavingError: (its message cannot be read)"


def test_a_description_is_one_line_that_a_terminal_only_shows() -> None:
    assert describe(ValueError("a\nb\x1b[2J\u202ec\ud800")) == r"ValueError: a b\x1b[2J\u202ec\ud800"


def test_a_description_is_bounded() -> None:
    assert describe(ValueError("x" * 10**6), 20) == "ValueError: xxxxxxx…"
    assert len(describe(ValueError("\x1b" * 10**6))) == 500
