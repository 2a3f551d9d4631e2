"""What a status says of a Redis that does not answer, and what it does not."""

import pytest
from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue.backends.redis.scripts import rejection_message, remedy
from sharded_queue.errors import StorageUnavailable, UnreadableData
from sharded_queue_operator.polling.redaction import redacted

SECRET = "token=hunter2 of another tenant"


@pytest.mark.parametrize(
    "error",
    [
        ResponseError(f"ERR {SECRET}"),
        RedisConnectionError(f"Protocol Error: b'{SECRET}'"),
        RedisConnectionError(f"the server does not speak the Redis protocol: ValueError('{SECRET}')"),
        AuthenticationError(SECRET),
        NoPermissionError(SECRET),
        RedisError(SECRET),
        RedisConnectionError(f"No master found for 'm' : <Redis> - ResponseError('{SECRET}')"),
    ],
)
def test_no_word_of_a_stranger_is_repeated(error: Exception) -> None:
    wrapped = StorageUnavailable(f"Redis refused: {error}")
    wrapped.__cause__ = error

    for each in (error, wrapped):
        told = redacted(each)
        assert told
        assert "hunter2" not in told


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            RedisConnectionError("Error 111 connecting to 10.0.0.1:6379. Connect call failed ('10.0.0.1', 6379)."),
            "Error 111 connecting to 10.0.0.1:6379. Connect call failed ('10.0.0.1', 6379).",
        ),
        (
            RedisConnectionError("Error -2 connecting to redis.shop.svc:6379. Name or service not known."),
            "Error -2 connecting to redis.shop.svc:6379. Name or service not known.",
        ),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "WRONGTYPE"),
        (
            AuthenticationError("invalid username-password pair"),
            "requires a user or a password, or refuses the one given",
        ),
        (InvalidResponse('Protocol error, got "S" as reply type byte'), "does not speak the Redis protocol"),
        (NoPermissionError("User x has no permissions to run the 'evalsha' command"), "NOPERM"),
        (
            ResponseError("unknown command 'SENTINEL', with args: 'MASTERS'"),
            "unknown command 'SENTINEL'",
        ),
    ],
)
def test_what_helps_is_told(error: Exception, sentence: str) -> None:
    told = redacted(error)
    assert told
    assert sentence in told


def test_sentences_of_the_library_are_repeated() -> None:
    """A status names the key that is wrong and its remedy, however the library words them."""
    wrong_kind = redacted(UnreadableData(remedy("tube_{a.H}:ready", "zset")))
    other_format = redacted(StorageUnavailable(rejection_message(ResponseError("FORMAT 9 1 tube_{a.H}:counters"))))

    assert wrong_kind
    assert wrong_kind.count("tube_{a.H}:ready") == wrong_kind.count("`sharded-queue check a.H --repair`") == 1
    assert other_format
    assert "tube_{a.H}:counters" in other_format


def test_what_is_to_be_done_about_records_is_told() -> None:
    unreadable = UnreadableData(
        "the counters and indices of {a.H} cannot be read: depth is b'hunter2', no number of requests;"
        " `sharded-queue check a.H --repair` puts it right"
    )

    assert redacted(unreadable) == (
        "the counters and indices of {a.H} cannot be read; `sharded-queue check a.H --repair` puts it right"
    )


def test_a_time_that_ran_out_says_nothing() -> None:
    assert redacted(TimeoutError()) is None
