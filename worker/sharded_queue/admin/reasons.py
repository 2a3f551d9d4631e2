"""Who does something that cannot be taken back, and why."""

import getpass
from typing import Any

from sharded_queue.admin.acts import BadField, given
from sharded_queue.storage import Removal


def reason() -> Any:
    """The field of an act."""
    about = "Why: a line that is recorded."
    return given("reason", about, default="", read=read_reason, is_option=True, is_required=True)


def actor() -> Any:
    """The field of an act."""
    about = "Who does it. Defaults to the user of this process."
    return given("by", about, default="", is_option=True, is_person=True, usual=user_of_this_process)


def read_reason(text: str) -> str:
    """
    Raises:
        ValueError: this is not a line of text.
    """
    assert Removal("somebody", text).sentence
    return text


def user_of_this_process() -> str:
    """As the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def removal_of(actor: str, reason: str) -> Removal:
    """
    Raises:
        BadField: a part is not a line of text.
    """
    removal = Removal(actor, reason)
    try:
        assert removal.sentence
    except ValueError as error:
        raise BadField("reason", str(error)) from error
    return removal
