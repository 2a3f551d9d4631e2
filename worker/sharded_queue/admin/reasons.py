"""Acts of which it is recorded who did them, and why."""

import getpass
from dataclasses import dataclass
from typing import Any

from sharded_queue.admin.acts import Act, BadField, T, given
from sharded_queue.storage import Cause


def user_of_this_process() -> str:
    """As the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def read_reason(text: str) -> str:
    """
    Raises:
        ValueError: this is not a line of text.
    """
    Cause("somebody", text).check()
    return text


def given_actor() -> Any:
    """The field of an act that says who does it."""
    return given(
        "by",
        "Who does it. Defaults to the user of this process.",
        default="",
        is_option=True,
        is_person=True,
        usual=user_of_this_process,
    )


def given_reason(help: str, **how: Any) -> Any:  # noqa: A002 - as click has it
    """The field of an act that says why."""
    asked = "Why? It is recorded"
    return given("reason", help, default="", read=read_reason, is_option=True, question=asked, **how)


def checked_cause(actor: str, reason: str) -> Cause:
    """
    Raises:
        BadField: a part is not a line of text.
    """
    cause = Cause(actor, reason)
    try:
        cause.check()
    except ValueError as error:
        raise BadField("reason", str(error)) from error
    return cause


@dataclass(frozen=True, kw_only=True)
class WithReason(Act[T]):
    """Something is taken away."""

    reason: str = given_reason("Why: a line that is recorded.", is_required=True)
    actor: str = given_actor()

    @property
    def cause(self) -> Cause:
        """
        Raises:
            BadField: a part is not a line of text.
        """
        return checked_cause(self.actor, self.reason)
