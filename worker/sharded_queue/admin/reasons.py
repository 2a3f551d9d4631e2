"""Acts of which it is recorded who did them, and why."""

import getpass
from dataclasses import dataclass

from sharded_queue.admin.acts import Act, BadField, T, given
from sharded_queue.storage import Removal


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
    Removal("somebody", text).check()
    return text


@dataclass(frozen=True, kw_only=True)
class WithReason(Act[T]):
    """Something is taken away."""

    reason: str = given(
        "reason", "Why: a line that is recorded.", default="", read=read_reason, is_option=True, is_required=True
    )
    actor: str = given(
        "by",
        "Who does it. Defaults to the user of this process.",
        default="",
        is_option=True,
        is_person=True,
        usual=user_of_this_process,
    )

    @property
    def removal(self) -> Removal:
        """
        Raises:
            BadField: a part is not a line of text.
        """
        removal = Removal(self.actor, self.reason)
        try:
            removal.check()
        except ValueError as error:
            raise BadField("reason", str(error)) from error
        return removal
