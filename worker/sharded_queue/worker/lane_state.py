"""The states of a lane, and how it gets from one to another. Pure."""

from enum import Enum


class LaneState(Enum):
    """
    What a lane has of its thread.

    *is_held*: the thread is the lane's, whose lease is to be renewed. *is_exposed*: the lane must learn that its lease
    ended. Not while a settlement is under way: its answer tells what became of the lease, which the settlement may have
    released itself.
    """

    HANDLING = ("handling", True, True)
    """The handler is called, or is going to be."""
    SETTLING = ("settling", True, False)
    """Redis has been told something, and has not answered yet."""
    LINGERING = ("lingering", True, True)
    """The thread is drained, and kept for its next request."""
    ENDING = ("ending", True, True)
    """No request is handled any more; the handler may be closing what it opened."""
    RELEASED = ("released", False, False)
    """The thread is free, or left to the end of its lease."""
    LOST = ("lost", False, False)
    """Another worker may hold the thread."""

    next: tuple["LaneState", ...]
    """Where an arrow of the figure leads to."""

    def __init__(self, word: str, is_held: bool, is_exposed: bool) -> None:
        self.word, self.is_held, self.is_exposed = word, is_held, is_exposed


HANDLING, SETTLING, LINGERING, ENDING, RELEASED, LOST = LaneState
"""A global name is read four times as fast as a member of an enum."""

NEXT = {
    HANDLING: (SETTLING, LINGERING, ENDING, RELEASED, LOST),
    SETTLING: (HANDLING, LINGERING),
    LINGERING: (HANDLING, SETTLING, ENDING, RELEASED, LOST),
    ENDING: (RELEASED, LOST),
    RELEASED: (),
    LOST: (),
}
"""A settlement leads back to where it began; its answer may then release the thread, or say that it is lost."""

for state, following in NEXT.items():
    state.next = following
