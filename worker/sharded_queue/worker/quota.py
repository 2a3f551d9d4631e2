"""How many requests a worker may still take, where `Worker.loop` has a limit."""


class Quota:
    """
    Counts requests of one `Worker.loop` against its *limit*; None: there is no limit.

    Requests are reserved before they are asked for, so that all lanes together never take more than the limit. What
    was reserved and not handed out is given back.
    """

    __slots__ = ("_handled", "_left", "limit")

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self._left, self._handled = limit, limit, 0

    def reserve(self, wanted: int) -> int:
        """Reserve *wanted* requests, or as many as are left."""
        if self._left is None:
            return wanted
        count = min(wanted, self._left)
        self._left -= count
        return count

    def reserve_each(self, wanted: int, threads: int) -> int:
        """Reserve the same number of requests, at most *wanted*, for each of *threads* threads; returns that number."""
        if self._left is None:
            return wanted
        each = min(wanted, self._left // threads)
        self._left -= each * threads
        return each

    def give_back(self, count: int) -> None:
        if self._left is not None:
            self._left += count

    def note_handled(self, count: int) -> None:
        """*count* of the reserved requests were handled."""
        self._handled += count

    def threads(self, room: int) -> int:
        """How many threads to bind where there is *room*: each takes at least one request."""
        return room if self._left is None else min(room, self._left)

    @property
    def is_limited(self) -> bool:
        return self.limit is not None

    @property
    def is_used_up(self) -> bool:
        return self._handled == self.limit

    @property
    def is_reserved(self) -> bool:
        """Whether a lane has yet to hear whether its thread has the requests that were reserved for it."""
        return self.limit is not None and self._left != self.limit - self._handled
