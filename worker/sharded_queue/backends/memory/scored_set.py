"""Members by score: what a sorted set is to Redis."""

from sortedcontainers import SortedList


class ScoredSet:
    """Members by score, lowest first: what a sorted set is to Redis. Every step costs O(log n)."""

    def __init__(self) -> None:
        self._scores: dict[str, float] = {}
        self._ranked: SortedList[tuple[float, str]] = SortedList()

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, member: str) -> bool:
        return member in self._scores

    def __getitem__(self, member: str) -> float:
        return self._scores[member]

    def rank(self, member: str) -> int | None:
        """How many members are before this one."""
        score = self._scores.get(member)
        return None if score is None else self._ranked.index((score, member))

    def score(self, member: str) -> float | None:
        return self._scores.get(member)

    def put(self, member: str, score: float) -> None:
        self.discard(member)
        self._scores[member] = score
        self._ranked.add((score, member))

    def discard(self, member: str) -> None:
        if (score := self._scores.pop(member, None)) is not None:
            self._ranked.remove((score, member))

    def pop_lowest(self) -> str:
        _, member = self._ranked.pop(0)
        del self._scores[member]
        return member

    def lowest(self, count: int) -> list[tuple[str, float]]:
        return [(member, score) for score, member in self._ranked[:count]]

    def highest(self, count: int) -> list[tuple[str, float]]:
        return [(member, score) for score, member in self._ranked[: -count - 1 : -1]]

    def up_to(self, score: float) -> list[str]:
        return [member for _, member in self._ranked[: self._ranked.bisect_right((score, "\U0010ffff"))]]

    def at(self, score: float, count: int) -> list[str]:
        """The first *count* members of a score."""
        first = self._ranked.bisect_left((score, ""))
        return [member for found, member in self._ranked[first : first + count] if found == score]

    def above(self, score: float) -> list[str]:
        return [member for _, member in self._ranked[self._ranked.bisect_right((score, "\U0010ffff")) :]]
