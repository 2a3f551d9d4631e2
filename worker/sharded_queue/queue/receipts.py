"""What a producer gets for its requests: where each of them waits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from sharded_queue.tube import Tube


class Receipt(NamedTuple):
    """
    Where a request waits: its tube, and its sequence number there.

    The number of a waiting request changes in one case: a person drops a request before it in the tube. Then the
    requests behind the dropped one move up, and the number of each falls by one. A receipt from before may then name
    another request. A dead letter that is put back gets another number than its receipt has, and so may a delayed
    request when it joins its tube.

    *is_duplicate*: the request was not registered, because it repeats the one that the receipt names. That one was
    registered earlier, and may have been handled by now.
    """

    tube: Tube
    sequence: int
    is_duplicate: bool = False


class Receipts(Sequence[Receipt]):
    """A receipt per request, in the order of registration. They are made on first access, since most are never read."""

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
    def __getitem__(self, index: int) -> Receipt: ...
    @overload
    def __getitem__(self, index: slice) -> list[Receipt]: ...
    def __getitem__(self, index: int | slice) -> Receipt | list[Receipt]:
        if self._made is None:
            self._made = list(self._make())
        return self._made[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _make(self) -> Iterator[Receipt]:
        following, indices = dict(self._firsts), dict.fromkeys(self._firsts, 0)
        for route in self._routes:
            tube = self._tubes[route]
            if duplicate := self._duplicates.get((tube, indices[tube])):
                yield duplicate
            else:
                yield Receipt(tube, following[tube])
                following[tube] += 1
            indices[tube] += 1
