"""Requests of every kind go to text and back; what cannot says which one and why."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import pydantic
import pytest

from sharded_queue import Handler, Queue, RuntimeStorage, SerializationError
from sharded_queue.serializer import READ_BACK, Serializer, key_hash_in, pack, unpack, with_key_hash

STAMP = b"1234567890123"


class TupleRequest(NamedTuple):
    number: int
    text: str = "x"


@dataclass
class DataRequest:
    number: int
    text: str = "x"


@dataclass(frozen=True, slots=True)
class FrozenRequest:
    number: int
    text: str = "x"


class StructRequest(msgspec.Struct):
    number: int
    text: str = "x"


class ModelRequest(pydantic.BaseModel):
    number: int
    text: str = "x"


KINDS = [TupleRequest, DataRequest, FrozenRequest, StructRequest, ModelRequest]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_request_comes_back_equal(kind: Any) -> None:
    serializer = Serializer(kind)
    request = kind(number=7, text="ü\n\x00“")

    assert serializer.decode_one(*serializer.encode_all((request,))) == request


@pytest.mark.parametrize("request_type", [int, str, dict[str, int], list[str], Any])
def test_plain_values_come_back_equal(request_type: Any) -> None:
    value = {int: 5, str: "five", dict[str, int]: {"a": 1}, list[str]: ["a"], Any: {"x": [1, None]}}[request_type]
    serializer = Serializer(request_type)

    assert serializer.decode_one(*serializer.encode_all((value,))) == value


async def test_a_handler_without_annotations_takes_any_json() -> None:
    class FreeHandler(Handler):
        async def perform(self, *requests):  # type: ignore[no-untyped-def]
            ...

    assert len(await Queue(RuntimeStorage()).register(FreeHandler, {"a": 1}, [2], "three")) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"{}", b"[]", b'["text"]', b'{"number": "text"}', b"\xff\xfe", b"null"]
)
def test_what_is_no_request_is_refused_with_its_text(kind: Any, body: bytes) -> None:
    with pytest.raises(SerializationError, match=f"is not a {kind.__name__}"):
        Serializer(kind).decode_one(body)


def test_text_nested_without_end_is_refused() -> None:
    with pytest.raises(SerializationError):
        Serializer(Any).decode_one(b"[" * 100_000)


def test_whatever_a_request_raises_when_it_is_read_is_a_flaw_of_the_message() -> None:
    @dataclass
    class PickyRequest:
        number: int

        def __post_init__(self) -> None:
            raise KeyError("picky")

    requests, flaw = Serializer(PickyRequest).read([STAMP + b'{"number":1}'])

    assert requests == []
    assert isinstance(flaw, SerializationError)


def test_requests_are_read_up_to_the_first_that_cannot_be() -> None:
    messages = [STAMP + b"[1]", STAMP + b"[2]", STAMP + b"garbage", STAMP + b"[4]"]
    requests, flaw = Serializer(TupleRequest).read(messages)

    assert requests == [TupleRequest(1), TupleRequest(2)]
    assert "garbage" in str(flaw)


def test_a_request_of_another_type_is_named_by_its_place() -> None:
    with pytest.raises(SerializationError, match=r"request 1 is DataRequest\(.*not a TupleRequest"):
        Serializer(TupleRequest).encode_all((TupleRequest(1), DataRequest(2)))


@pytest.mark.parametrize("value", [object(), {object(): 1}, "\ud800"])
def test_a_value_that_json_cannot_hold_is_named_by_its_place(value: object) -> None:
    with pytest.raises(SerializationError, match="request 1"):
        Serializer(TupleRequest).encode_all((TupleRequest(1), TupleRequest(value)))  # type: ignore[arg-type]


def test_a_value_that_holds_itself_cannot_be_encoded() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(SerializationError):
        Serializer(Any).encode_all((endless,))


def test_a_request_type_that_json_cannot_describe_is_refused() -> None:
    with pytest.raises(SerializationError, match="cannot be read from JSON"):
        Serializer(complex | bytes | str | int)


def test_headers_travel_with_a_body() -> None:
    message = unpack(STAMP + pack(b"[1]", {"trace": "a\nb", "ü": "+"}))

    assert (message.registered_ms, message.body) == (int(STAMP), b"[1]")
    assert message.headers == {"trace": "a\nb", "ü": "+"}


def test_a_message_without_headers_has_none() -> None:
    assert unpack(STAMP + pack(b"[1]")).headers == {}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"123",
        STAMP + b"+",
        STAMP + b"+{}",
        STAMP + b"+[1]\n[1]",
        STAMP + b"+\xff\n[1]",
    ],
)
def test_a_message_that_is_none_is_refused(message: bytes) -> None:
    _, flaw = Serializer(TupleRequest).read([message])

    assert isinstance(flaw, SerializationError)


@pytest.mark.parametrize("headers", [None, {"trace": "7"}])
def test_a_message_carries_the_hash_of_its_key(headers: dict[str, str] | None) -> None:
    packed = with_key_hash(0xE8B7BE43, pack(b'["#"]', headers))

    assert key_hash_in(packed) == 0xE8B7BE43
    assert unpack(STAMP + packed) == (int(STAMP), b'["#"]', headers or {})


def test_a_message_without_a_key_has_no_mark() -> None:
    assert key_hash_in(pack(b"[1]", {"#": "#"})) is None


def test_a_batch_is_read_with_and_without_key_hashes() -> None:
    messages = [
        STAMP + packed for packed in (with_key_hash(7, b"0"), b"1", with_key_hash(8, pack(b"2", {"a": "b"})), b"3")
    ]

    for first in range(len(messages)):
        rotated = messages[first:] + messages[:first]
        assert Serializer(int).read(rotated) == ([(first + place) % 4 for place in range(4)], None)


class Measure(NamedTuple):
    value: float = 0.0
    count: int = 0


class Nested(msgspec.Struct):
    inner: Measure
    note: str | None = None


class Level(enum.IntEnum):
    LOW = 1


class Event(NamedTuple):
    """Fields of every kind that is compared without decoding."""

    at: datetime
    note: str | None
    tags: list[str]
    pair: tuple[int, ...]
    size: Measure
    counts: dict[str, int]
    level: Level
    key: int | str
    anything: Any
    whole: list  # type: ignore[type-arg]


EVENT = Event(
    datetime(2026, 11, 26, tzinfo=UTC),
    None,
    ["a"],
    (1, 2),
    Measure(1.5, 2),
    {"a": 1},
    Level.LOW,
    "key",
    {"a": [None]},
    [1],
)


class Bounded(msgspec.Struct):
    """Only decoding knows its bounds."""

    cents: Annotated[int, msgspec.Meta(ge=0)]


@dataclass
class Family:
    """Contains itself."""

    name: str
    children: list["Family"] = field(default_factory=list)


@pytest.mark.parametrize("request_type", [Event, Measure, Nested, StructRequest, DataRequest, list[Event], int])
def test_sound_requests_are_decoded_no_more_than_the_first_few(
    request_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To decode all of them would take longer than to encode them."""
    sound = {Measure: Measure(1, 2), Nested: Nested(Measure()), Event: EVENT, list[Event]: [EVENT], int: 7}
    serializer = Serializer(request_type)
    decoded: list[bytes] = []
    monkeypatch.setattr(serializer, "_decode", decoded.append)

    serializer.encode_all((sound.get(request_type) or request_type(1, "text"),) * 100)

    assert len(decoded) == READ_BACK


@pytest.mark.parametrize(
    ("request_type", "broken", "complaint"),
    [
        (Measure, Measure(float("nan")), r"field value of request 20 is nan, which no worker could read"),
        (Measure, Measure(float("-inf")), r"field value of request 20 is -inf"),
        (Measure, Measure("abc"), r"field value of request 20 is 'abc'.*Expected `float`"),  # type: ignore[arg-type]
        (Measure, Measure(0.0, 2**63 - 1 + 0.5), r"field count of request 20"),  # type: ignore[arg-type]
        (StructRequest, StructRequest(1, None), r"field text of request 20 is None"),  # type: ignore[arg-type]
        (DataRequest, DataRequest(True), r"field number of request 20 is True"),
        (Nested, Nested(Measure(float("inf"))), r"field inner of request 20"),
        (float, float("nan"), r"request 20 is nan"),
        (int, True, r"request 20 is True.*Expected `int`"),
        (Event, EVENT._replace(at="noon"), r"field at of request 20 is 'noon', .*Invalid RFC3339"),  # type: ignore[arg-type]
        (Event, EVENT._replace(note=7), r"field note of request 20 is 7, .*Expected `str \| null`, got `int`"),  # type: ignore[arg-type]
        (Event, EVENT._replace(tags=["a", 7]), r"field tags of request 20 is \['a', 7\], .*Expected `str`, got `int`"),  # type: ignore[list-item]
        (Event, EVENT._replace(size=Measure("abc")), r"field size of request 20 is Measure\(value='abc'"),  # type: ignore[arg-type]
        (Event, EVENT._replace(counts={"a": "b"}), r"field counts of request 20"),  # type: ignore[dict-item]
        (Event, EVENT._replace(level=3), r"field level of request 20 is 3, .*Invalid enum value 3"),  # type: ignore[arg-type]
        (Event, EVENT._replace(key=1.5), r"field key of request 20 is 1.5, .*Expected `int \| str`, got `float`"),  # type: ignore[arg-type]
        (Bounded, Bounded(-1), r"field cents of request 20 is -1, .*Expected `int` >= 0"),
        (Family, Family("a", [Family(7)]), r"field children of request 20"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_what_no_worker_could_read_is_refused_and_named(request_type: Any, broken: Any, complaint: str) -> None:
    sound = {
        Measure: Measure(1, 2),
        Nested: Nested(Measure(), None),
        Event: EVENT,
        Family: Family("a", [Family("b")]),
        float: 1.5,
    }.get(request_type)
    many = [sound if sound is not None else request_type(1)] * 20

    with pytest.raises(SerializationError, match=complaint):
        Serializer(request_type).encode_all((*many, broken))


def test_values_that_only_look_strange_are_registered() -> None:
    requests = (*[Measure(1)] * 20, Measure(3, Level.LOW), Measure(2**62, -(2**63)))

    assert len(Serializer(Measure).encode_all(requests)) == 22


@pytest.mark.parametrize("headers", [{"tenant": 1}, {"traceparent": None}, {1: "x"}], ids=str)
async def test_headers_that_are_no_texts_are_refused_and_named(headers: Any) -> None:
    class HeaderHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    with pytest.raises(SerializationError, match=r"header .* must be text"):
        await Queue(RuntimeStorage()).register(HeaderHandler, 1, headers=headers)
