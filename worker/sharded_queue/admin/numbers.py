"""Which dead letters, delayed or waiting requests a person means."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sharded_queue.admin.handlers import Named, NotPossible
from sharded_queue.printable import printable
from sharded_queue.tube import Shard

NUMBER = re.compile(r"(?:(\d{1,16}):)?(\d{1,16})", re.ASCII)


class Number(NamedTuple):
    """Written `NUMBER`, or `SHARD:NUMBER` where the handler has several shards, each of which counts for itself."""

    number: int
    shard: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.shard is None else f"{self.shard}:{self.number}"


def read_number(text: str) -> Number:
    """
    Raises:
        ValueError: this is not a number.
    """
    found = NUMBER.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r:.80} is not NUMBER or SHARD:NUMBER")
    shard, number = found.groups()
    return Number(int(number), None if shard is None else int(shard))


def by_shard(handler: Named, numbers: Sequence[Number]) -> dict[Shard, list[int]]:
    """
    In the order in which they were said.

    Raises:
        NotPossible: the shard of one is not known, or not there.
    """
    found: dict[Shard, list[int]] = {}
    for number, at in numbers:
        if at is None and handler.spread > 1:
            raise NotPossible(
                f"the {handler.spread} shards of {printable(handler.name)} count separately: say SHARD:NUMBER, or all"
            )
        if (at or 0) >= handler.spread:
            raise NotPossible(f"{printable(handler.name)} has no shard {at}")
        found.setdefault(handler.shards[at or 0], []).append(number)
    return found


def name_in(shard: Shard, number: int) -> str:
    """A number, as it is said."""
    return str(Number(number, shard.number if shard.spread > 1 else None))


def must_select(noun: str, numbers: Sequence[object], is_all: bool) -> None:
    """
    None that is named never stands for all.

    Raises:
        NotPossible: neither some are named, nor all are meant; or both.
    """
    if bool(numbers) == is_all:
        raise NotPossible(f"select {noun}s by their numbers, or all of them")
