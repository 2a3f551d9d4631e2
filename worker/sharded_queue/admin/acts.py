"""
An act of a person: who may do it, what it takes, what it would do, and the steps in which it is done.

The fields of an act that say how they are given are the arguments and options of its command, and the fields of its
form on a page. Both give texts, and `make` reads them.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.errors import NotPossible, StorageUnavailable
from sharded_queue.printable import be, counted
from sharded_queue.storage import Storage

T = TypeVar("T")
"""The answer of an act."""
A = TypeVar("A", bound="Act[Any]")
Right = Literal["viewer", "operator", "admin"]
"""A viewer looks; an operator also pauses, resumes, replays and cancels; an admin also drops, removes and reshards."""


class Given(NamedTuple):
    """How a person gives a field: by its *name*, as a text that *read* understands and *write* makes again."""

    name: str
    help: str = ""
    read: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    is_option: bool = False
    is_flag: bool = False
    is_list: bool = False
    is_required: bool = False
    """Whether it has to be said before the act is done; what it would do can be said without."""
    is_person: bool = False
    """Who acts: a page knows that."""
    is_hidden: bool = False
    """A terminal has no option for it: only a plan gives it, or others do in its place."""
    usual: Callable[[], str] | None = None
    """What a terminal says where the person says nothing."""
    label: str = ""
    """Where a page has to ask for it before it can ask anything else."""
    question: str = ""
    """What a page asks beside the button."""
    kind: str = "text"
    """Of that question, as in HTML."""


def given(name: str, help: str = "", *, default: Any = MISSING, **how: Any) -> Any:  # noqa: A002 - as click has it
    """A field of an act that a person gives."""
    return field(default=default, metadata={"given": Given(name, help, **how)})


class ActionContext(NamedTuple):
    """What acts work with: a storage, and what of requests may be looked at in a search."""

    storage: Storage
    bodies: Bodies = Bodies()


@dataclass(frozen=True, kw_only=True)
class Act(Generic[T]):
    """One kind of act, with what a person said of it. Its docstring is the help of its command."""

    name: ClassVar[str]
    right: ClassVar[Right] = "operator"
    noun: ClassVar[str] = ""
    """What it counts."""
    is_asked: ClassVar[bool] = False
    """Whether a terminal asks before it, as a page does before every act."""
    handler: Named

    async def plan(self, context: ActionContext) -> "Plan[T]":
        """
        What it would do. Nothing is written.

        Raises:
            NotPossible: it cannot be done.
        """
        raise NotImplementedError

    def steps(self, context: ActionContext) -> AsyncIterator["Step[T]"]:
        """
        Do it: in steps, each of which is bounded and atomic, so that an act that was cut can be asked for again. Yields
        what is done so far, after each step.

        Raises:
            NotPossible: it cannot be done.
        """
        raise NotImplementedError

    def sentences(self, step: "Step[T]") -> list[str]:
        """What was done, and what the person has to know of it. *step*: the last one."""
        raise NotImplementedError

    def said(self) -> list[tuple[str, str]]:
        """What the person said, as the texts that make the same act."""
        return [
            (how.name, text) for each, how in given_fields(type(self)) for text in _texts(how, getattr(self, each.name))
        ]


class Plan(NamedTuple, Generic[T]):
    """
    What an act would do, and to how many things. *act*: what was asked for, bound to what there was then: it leaves
    alone what comes later. *known*: what a field is now that a page asks for.
    """

    act: Act[T]
    question: str
    effect: str
    total: int = 1
    known: str = ""


class Step(NamedTuple, Generic[T]):
    """
    How far an act is: the *answer* so far, the numbers that are *done* of *total*, and what is *left*, with the reason.
    """

    answer: T
    total: int = 0
    done: Sequence[int] = ()
    left: Mapping[str, str] = {}
    notes: Sequence[str] = ()
    """What else the person has to know."""
    is_partial: bool = False
    """Whether something was not done that is not listed in *left*, or nothing was there to do it to."""


class BadField(NotPossible):
    """A field of an act is not what it has to be."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def given_fields(act: type[Act[Any]]) -> list[tuple["Field[Any]", Given]]:
    return [(each, each.metadata["given"]) for each in fields(act) if "given" in each.metadata]


def make(act: type[A], handler: Named, texts: Mapping[str, Sequence[str]]) -> A:
    """
    The act of which a person said these texts, by the names of fields.

    Raises:
        BadField: one of them cannot be read.
    """
    values: dict[str, Any] = {}
    for each, how in given_fields(act):
        if said := texts.get(how.name):
            try:
                values[each.name] = _value(how, said)
            except ValueError as error:
                raise BadField(how.name, str(error)) from error
    return act(handler=handler, **values)


def _value(how: Given, texts: Sequence[str]) -> Any:
    if how.is_list:
        return tuple(map(how.read, dict.fromkeys(texts)))
    return True if how.is_flag else how.read(texts[0])


def _texts(how: Given, value: Any) -> list[str]:
    if how.is_list:
        return [how.write(each) for each in value]
    if how.is_flag:
        return ["yes"] * bool(value)
    return [] if value in (None, "") else [how.write(value)]


async def carry_out(act: Act[T], context: ActionContext) -> AsyncIterator[Step[T]]:
    """
    As `Act.steps`; where Redis falls silent in between, the error says how much is done.

    Raises:
        NotPossible: it cannot be done.
        StorageUnavailable: the rest is to be asked for again.
    """
    step = None
    try:
        async for step in act.steps(context):
            yield step
    except StorageUnavailable as error:
        if step is None or not step.total:
            raise
        done = len(step.done)
        words = f"{done:,} of {counted(step.total, act.noun)} {be(done)} done for certain"
        raise StorageUnavailable(f"{error}; {words}, and asking again does the rest") from error
