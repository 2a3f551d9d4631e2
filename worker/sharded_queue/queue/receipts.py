"""What a producer gets for its requests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from sharded_queue.tube import Tube


class Receipt(NamedTuple):
    """
    Where a request waits: its tube, and its sequence number there. No other request is registered under the same; a
    dead letter that is put back has another number than its receipt says.

    *is_duplicate*: it was not registered, because it is the same as the one that the receipt names, which was
    registered before and may be handled by now.
    """

    tube: Tube
    sequence: int
    is_duplicate: bool = False


class Receipts(Sequence[Receipt]):
    """A receipt per registered request, in the order of registration; made when looked at, as most never are."""

    def __init__(
        self,
        routes: Sequence[Any],
        tubes: Mapping[Any, Tube],
        firsts: Mapping[Tube, int],
        duplicates: Mapping[tuple[Tube, int], Receipt] | None = None,
    ) -> None:
        self._routes, self._tubes, self._firsts, self._duplicates = routes, tubes, firsts, duplicates or {}
        self._made: list[Receipt] | None = None

    def __len__(self) -> int:
        return len(self._routes)

    @overload
    def __getitem__(self, place: int) -> Receipt: ...
    @overload
    def __getitem__(self, place: slice) -> list[Receipt]: ...
    def __getitem__(self, place: int | slice) -> Receipt | list[Receipt]:
        if self._made is None:
            self._made = list(self._make())
        return self._made[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _make(self) -> Iterator[Receipt]:
        following, places = dict(self._firsts), dict.fromkeys(self._firsts, 0)
        for route in self._routes:
            tube = self._tubes[route]
            if duplicate := self._duplicates.get((tube, places[tube])):
                yield duplicate
            else:
                yield Receipt(tube, following[tube])
                following[tube] += 1
            places[tube] += 1
