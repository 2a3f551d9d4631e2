"""
Requests as text, and back.

A *body* is a request as JSON. A *message* is what waits in a tube: the time of registration (13 digits of
milliseconds), then the body; with headers, a `+`, the headers as JSON and a line feed come between them. A request
routed by key has a `#` and the 8 hexadecimal digits of the key's hash after the time.

The type to read comes from the handler's annotation: nothing is imported or unpickled because of what was read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, is_typeddict

import msgspec

from sharded_queue.errors import SerializationError
from sharded_queue.field_types import have_type

STAMP_DIGITS = 13
KEY_HASH_BYTES = 9
READ_BACK = 8
"""Requests of one call that are decoded again right after they were encoded."""
IN_FIELD = re.compile(r"at `\$(?:\.(\w+)|\[(\d+)\])")
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class Message(NamedTuple):
    """A message taken apart: *registered_ms* by the storage's clock, *body* still encoded."""

    registered_ms: int
    body: bytes
    headers: Mapping[str, str]


def pack(body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """
    What a storage keeps for a request, still without its time.

    Raises:
        SerializationError: a header is not a text.
    """
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise SerializationError(f"header {name!r:.80} is {value!r:.80}: names and values must be text")
    return body if not headers else b"+" + msgspec.json.encode(headers) + b"\n" + body


def with_key_hash(key_hash: int, packed: bytes) -> bytes:
    """A request with the hash of its key, from which a storage derives its thread."""
    return b"#%08x%b" % (key_hash, packed)


def key_hash_in(packed: bytes) -> int | None:
    """The hash of the key that a request was routed by; None where it names its thread itself."""
    return int(packed[1:KEY_HASH_BYTES], 16) if packed.startswith(b"#") else None


def body_of(packed: bytes) -> bytes:
    """The request in what a storage keeps, without its key hash and headers."""
    rest = packed[KEY_HASH_BYTES:] if packed.startswith(b"#") else packed
    return rest.partition(b"\n")[2] if rest.startswith(b"+") else rest


def unpack(message: bytes) -> Message:
    """
    Raises:
        SerializationError: this is not a message.
    """
    stamp, rest = message[:STAMP_DIGITS], message[STAMP_DIGITS:]
    if len(stamp) != STAMP_DIGITS or not stamp.isdigit():
        raise SerializationError(f"a message begins with the {STAMP_DIGITS} digits of its time, not with {stamp!r}")
    if rest.startswith(b"#"):
        rest = rest[KEY_HASH_BYTES:]
    if not rest.startswith(b"+"):
        return Message(int(stamp), rest, {})
    headers, _, body = rest[1:].partition(b"\n")
    try:
        return Message(int(stamp), body, _decode_headers(headers))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SerializationError(f"headers {headers[:80]!r} are not a JSON object of texts: {error}") from error


class Serializer:
    """Writes and reads the requests of one type: NamedTuple, dataclass, msgspec Struct or pydantic model."""

    def __init__(self, request_type: Any) -> None:
        self.request_type = request_type
        is_checkable = isinstance(request_type, type) and request_type is not Any and not is_typeddict(request_type)
        self._class = request_type if is_checkable else None
        self._is_pydantic = hasattr(request_type, "model_validate_json")  # without importing it
        if self._is_pydantic:
            self._encode: Callable[[Any], bytes] = lambda request: bytes(request.model_dump_json(), "utf-8")
            self._decode: Callable[[bytes], Any] = request_type.model_validate_json
        else:
            self._encode = msgspec.json.Encoder().encode
            self._decode = _decoder(request_type)
        self._have_type = None if self._is_pydantic else have_type(request_type)

    def encode_all(self, requests: tuple[Any, ...]) -> list[bytes]:
        """
        Raises:
            SerializationError: a request has another type, or holds something that JSON has no form for, or that no
                worker could read. The error says which request.
        """
        if self._class and set(map(type, requests)) != {self._class}:
            for index, request in enumerate(requests):
                if not isinstance(request, self._class):
                    raise SerializationError(f"request {index} is {request!r:.80}, not a {self._class.__name__}")
        try:
            bodies = list(map(self._encode, requests))
        except (TypeError, ValueError, OverflowError, RecursionError):
            bodies = [self._encode_named(index, request) for index, request in enumerate(requests)]
        for index in self._doubtful(requests, bodies):
            self._check(index, requests[index], bodies[index])
        return bodies

    def _doubtful(self, requests: Sequence[Any], bodies: Sequence[bytes]) -> Sequence[int]:
        """
        The indices of requests that a worker might be unable to read. Decoding all of them would take longer than
        encoding them. So it is the first few, and all only if one has a field of another type than annotated, or of a
        type that decoding alone can check. A pydantic model checked its fields when it was made, so that only one with
        a null is doubtful: infinity and NaN are encoded as null.
        """
        if self._is_pydantic:
            return [index for index, body in enumerate(bodies) if index < READ_BACK or b"null" in body]
        if len(requests) <= READ_BACK or not (self._have_type and self._have_type(requests)):
            return range(len(requests))
        return range(READ_BACK)

    def _check(self, index: int, request: Any, body: bytes) -> None:
        try:
            self._decode(body)
        except Exception as error:  # a request's own code runs here, and may raise anything
            where = IN_FIELD.search(str(error))
            fields = getattr(type(request), "_fields", ())
            name = where and (where[1] or (fields[int(where[2])] if int(where[2]) < len(fields) else None))
            what = (
                f"field {name} of request {index} is {getattr(request, name, request)!r:.80}"
                if name
                else (f"request {index} is {request!r:.80}")
            )
            raise SerializationError(f"{what}, which no worker could read: {error}") from error

    def _encode_named(self, index: int, request: Any) -> bytes:
        try:
            return self._encode(request)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SerializationError(f"request {index}, {request!r:.80}, cannot be encoded: {error}") from error

    def read(self, messages: Sequence[bytes]) -> tuple[list[Any], SerializationError | None]:
        """The requests of *messages* up to the first that cannot be read, and what is wrong with that one."""
        decode = self._decode
        try:
            start = STAMP_DIGITS + KEY_HASH_BYTES * messages[0].startswith(b"#", STAMP_DIGITS)
            return [decode(message[start:]) for message in messages], None
        except Exception:  # a message has headers, or is broken
            return self._read_one_by_one(messages)

    def _read_one_by_one(self, messages: Sequence[bytes]) -> tuple[list[Any], SerializationError | None]:
        requests: list[Any] = []
        for message in messages:
            try:
                requests.append(self.decode_one(unpack(message).body))
            except SerializationError as error:
                return requests, error
        return requests, None

    def decode_one(self, body: bytes) -> Any:
        """
        Raises:
            SerializationError: the text is not a request of this type.
        """
        try:
            return self._decode(body)
        except Exception as error:  # a request's own code runs here, and may raise anything
            name = getattr(self.request_type, "__name__", str(self.request_type))
            raise SerializationError(f"{body[:80]!r} is not a {name}: {error}") from error


def _decoder(request_type: Any) -> Callable[[bytes], Any]:
    try:
        return msgspec.json.Decoder(request_type).decode
    except TypeError as error:
        raise SerializationError(f"{request_type!r} cannot be read from JSON: {error}") from error
