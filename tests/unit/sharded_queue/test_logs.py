"""One entry of the log is one line, says whose it is, and carries nothing that a terminal obeys."""

import json
import logging
from collections.abc import Iterator

import pytest

from sharded_queue import Handler, Queue, Retry, Route, RuntimeCoordinator, RuntimeStorage, Worker, logs
from tests.unit.sharded_queue.test_printable import HOSTILE

library = logging.getLogger("sharded_queue")


class Written(logging.Handler):
    """What a formatter made of each record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.addFilter(logs.label)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def written() -> Iterator[Written]:
    handler = Written(logs.Text())
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_what_the_library_logs_is_shielded_wherever_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    library.warning("lost %s after %d tries: %r", HOSTILE, 3, ValueError(HOSTILE))

    assert caplog.messages[0].isprintable()
    assert "after 3 tries" in caplog.messages[0]


def test_a_reason_of_3000_characters_with_line_feeds_stays_one_short_line(written: Written) -> None:
    library.error("it failed: %s", "a\nb\x1b" * 1000)

    (text,) = written.texts
    assert text.isprintable()
    assert len(text) < 2100


def test_a_line_of_anybody_else_is_one_line_as_well(written: Written) -> None:
    logging.getLogger("someone.else").warning("%s", HOSTILE)

    assert written.texts[0].isprintable()


def test_no_line_of_a_traceback_can_be_taken_for_an_entry(written: Written) -> None:
    try:
        raise ValueError(f"boom\n2026-11-26T00:00:00.000Z ERROR forged{HOSTILE}")
    except ValueError:
        library.exception("it failed")

    first, *rest = written.texts[0].split("\n")
    assert " ERROR it failed" in first
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


@pytest.mark.parametrize(("make", "is_json"), [(logs.Text, False), (logs.Json, True)])
@pytest.mark.slow
async def test_each_line_of_a_handler_says_worker_and_handler(
    written: Written, make: type[logging.Formatter], is_json: bool
) -> None:
    class Mail(Handler):
        name, retry = "bank.Mail", Retry(1, 0, 0)

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route("Ann", 5)] * len(requests)

        async def perform(self, *requests: int) -> None:
            logging.getLogger("bank").warning("about to fail")
            raise ValueError(HOSTILE)

    written.setFormatter(make())
    queue = Queue(RuntimeStorage())
    await queue.register(Mail, 1)
    worker = Worker(RuntimeCoordinator(), queue, handlers=[Mail], name="web-1")
    await worker.loop(1)

    about_to_fail = next(text for text in written.texts if "about to fail" in text)
    if is_json:
        facts = json.loads(about_to_fail)
        assert (facts["worker"], facts["handler"], facts["thread"]) == (worker.owner, "bank.Mail", "Ann")
        assert facts["time"].endswith("Z")
        assert (facts["priority"], facts["request"], facts["requests"], facts["attempt"]) == (5, 0, 1, 1)
        assert isinstance(facts["fence"], int)
        assert not facts.keys() & {"queue_fence", "traceback"}
    else:
        assert f" WARNING [{worker.owner} bank.Mail] about to fail" in about_to_fail
    assert all(line.isprintable() for text in written.texts for line in text.split("\n"))
    assert any("dead letters" in text for text in written.texts)


def test_json_is_one_line_also_with_a_traceback(written: Written) -> None:
    written.setFormatter(logs.Json())
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        library.exception("failed: %s", HOSTILE)

    assert written.texts[0].isprintable()
    facts = json.loads(written.texts[0])
    assert facts["level"] == "ERROR"
    assert "ValueError" in facts["traceback"]


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "m", (), None)
    record.exc_text = "\n".join(f"line {number}" for number in range(1000))

    _, *lines = [line.strip() for line in logs.Text().format(record).split("\n")]

    assert (lines[0], lines[50], lines[-1]) == ("line 0", "… (900 lines)", "line 999")
