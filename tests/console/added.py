"""Pages as other packages might add them: a good one, and some that nobody would want."""

import sys
from collections.abc import Callable, Iterable
from itertools import count
from threading import Event
from typing import Any, NoReturn

from sharded_queue.errors import ShardedQueueError
from sharded_queue.web.added_page import Content, Fact, Remark, Row
from sharded_queue.web.people import Role

ATTACK = "<img src=x onerror='window.attacked = 1'>\u202e"


class Stalls:
    """The good one: of stalls at a market. *read* answers what a test says."""

    def __init__(self, read: Callable[[], Any], role: Role = "viewer", seconds: float = 5) -> None:
        self.title, self.role, self.period_seconds = "Stalls", role, seconds
        self.read = read


def stall(name: str) -> Row:
    facts = [
        Fact("Sold", "3 apples"),
        Fact("Handlers", handlers=["shop.Paid", "shop.Absent"]),
        Fact("Sales", line=[(5, 1), (0, 2)]),
    ]
    return Row(name, "open", "good", f"{name} sells apples", facts, [Remark(f"rain over {name}", "wait")])


def stalls(text: str) -> Stalls:
    names = text.split(",")
    return Stalls(lambda: Content("All stalls are open", "good", "open", [stall(name) for name in names]))


def for_admins(text: str) -> Stalls:
    return Stalls(lambda: Content("The till holds 3 coins", "good", "till"), role="admin")


def attacking(text: str) -> Stalls:
    return Stalls(lambda: Content(ATTACK, "bad", ATTACK, [stall(ATTACK)], ATTACK))


def endless(text: str) -> Stalls:
    """Says more than anybody can hold."""
    much = "x" * 5_000_000

    def rows() -> Iterable[Row]:
        return (
            Row(f"{number} {much}", much, "good", much, [Fact(much, much)], endless_remarks()) for number in count()
        )

    def endless_remarks() -> Any:
        return (Remark(much, "wait") for _ in count())

    return Stalls(lambda: Content(much, "good", much, rows(), much))  # type: ignore[arg-type]  # it may answer anything


class Hanging(Stalls):
    """Reads for as long as the test likes."""

    def __init__(self) -> None:
        super().__init__(self.wait, seconds=1)
        self.is_read, self.goes_on = Event(), Event()

    def wait(self) -> Content:
        self.is_read.set()
        self.goes_on.wait()
        return Content("It goes on", "good", "on")


hanging = Hanging()


def hangs(text: str) -> Stalls:
    return hanging


def refuses(text: str) -> NoReturn:
    raise ShardedQueueError("there are no stalls\u202e today")


def exits(text: str) -> NoReturn:
    sys.exit(7)


def needs_much(text: str) -> NoReturn:
    raise ModuleNotFoundError("No module named 'market'", name="market")


def raises(text: str) -> Stalls:
    def read() -> NoReturn:
        raise ZeroDivisionError("no apples")

    return Stalls(read)


def answers_nothing(text: str) -> Stalls:
    return Stalls(lambda: None)


def has_another_tone(text: str) -> Stalls:
    return Stalls(lambda: Content("All stalls are open", "loud", "open"))  # type: ignore[arg-type]


def draws_no_number(text: str) -> Stalls:
    row = Row("apples", "open", "good", facts=[Fact("Sales", line=[(0, float("nan"))])])
    return Stalls(lambda: Content("All stalls are open", "good", "open", [row]))


def has_another_role(text: str) -> Stalls:
    return Stalls(lambda: None, role="king")  # type: ignore[arg-type]
