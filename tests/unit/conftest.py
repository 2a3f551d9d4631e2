"""`make fast` runs what is not marked as slow (`-m "not slow"`): it starts no process, and takes seconds."""

import subprocess
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if item.config.option.markexpr != "not slow":
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse)
        return (yield)


def refuse(*_: object, **__: object) -> None:
    pytest.fail("this test starts a process: mark it as slow, so that `make fast` leaves it out")
