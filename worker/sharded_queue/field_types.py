"""
Whether values have the types that annotations say, found for many values at once.

Each field of all requests is looked at together, which takes a fraction of the time that decoding them would.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from math import isfinite
from operator import attrgetter, itemgetter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

HaveType = Callable[[Sequence[Any]], bool]
"""
Whether all of these values surely have the type. False means that they must be decoded to know: a value of another type
may be read as the right one, such as an IntEnum where an int is wanted.
"""

PLAIN = frozenset({str, int, bool, bytes, NoneType, date, datetime, time, timedelta, Decimal, UUID, list, dict, tuple})
SEQUENCES = frozenset({list, tuple, set, frozenset})
UNIONS = frozenset({Union, UnionType})


def have_type(annotation: Any) -> HaveType | None:
    """A check of many values at once; None if only decoding can tell, as with a TypedDict or bounds in `Annotated`."""
    return _check(annotation, frozenset())


def _check(annotation: Any, inside: frozenset[Any]) -> HaveType | None:
    """*inside*: the records that the annotation belongs to. One that contains itself is left to decoding."""
    if annotation is Any:
        return lambda _: True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return _check_class(annotation, inside) if isinstance(annotation, type) else None
    if origin in UNIONS:
        return _check_union(arguments, inside)
    if origin in SEQUENCES and (origin is not tuple or arguments[1:] == (...,)):
        return _check_items(origin, chain.from_iterable, _check(arguments[0], inside))
    if origin is dict and arguments[0] is str:
        return _check_items(dict, _values, _check(arguments[1], inside))
    return None


def _check_class(kind: type, inside: frozenset[Any]) -> HaveType | None:
    if kind is float:
        return _are_finite
    if kind in PLAIN or issubclass(kind, Enum):
        return lambda values: {kind}.issuperset(map(type, values))
    return None if kind in inside else _check_record(kind, inside | {kind})


def _are_finite(values: Sequence[Any]) -> bool:
    """JSON has no infinity and no NaN; it writes a whole number as a float would be written."""
    return {float, int}.issuperset(map(type, values)) and all(map(isfinite, values))


def _check_union(members: tuple[Any, ...], inside: frozenset[Any]) -> HaveType | None:
    """Of an optional type, its values; of several plain types, any of them."""
    others = [member for member in members if member is not NoneType]
    if len(others) == 1 and (check := _check(others[0], inside)):
        return lambda values: check([value for value in values if value is not None])
    if PLAIN.issuperset(members):
        return lambda values: PLAIN.intersection(members).issuperset(map(type, values))
    return None


def _check_items(
    kind: type, items_of: Callable[[Sequence[Any]], Iterable[Any]], check: HaveType | None
) -> HaveType | None:
    """Whether all are of one kind of collection, and all their items of another."""
    if check is None:
        return None
    return lambda values: {kind}.issuperset(map(type, values)) and check(list(items_of(values)))


def _values(mappings: Sequence[dict[str, Any]]) -> Iterable[Any]:
    return chain.from_iterable(mapping.values() for mapping in mappings)


def _check_record(kind: type, inside: frozenset[Any]) -> HaveType | None:
    """Of a NamedTuple, a dataclass or a Struct, field by field."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # a name that cannot be resolved
        return None
    checks = {name: _check(hints.get(name, Any), inside) for name in _fields(kind)}
    if not checks or None in checks.values():
        return None
    columns_of = _columns_of(kind, list(checks))

    def are_records(values: Sequence[Any]) -> bool:
        if not {kind}.issuperset(map(type, values)):
            return False
        return all(check(column) for check, column in zip(checks.values(), columns_of(values), strict=True) if check)

    return are_records


def _columns_of(kind: type, names: Sequence[str]) -> Callable[[Sequence[Any]], Iterable[Sequence[Any]]]:
    """Each field of all records, in the order of *names*; an item of a tuple is read faster by its number."""
    readers = [itemgetter(n) for n in range(len(names))] if issubclass(kind, tuple) else list(map(attrgetter, names))
    return lambda values: (list(map(read, values)) for read in readers)


def _fields(kind: type) -> tuple[str, ...]:
    """Of what is none of these, or has nothing to compare, nothing."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.init)
    return getattr(kind, "_fields", ()) if issubclass(kind, tuple) else ()
