"""The program that asks kstatus, made before the first test: to build it may take longer than a test may."""

from contextlib import suppress
from pathlib import Path

import pytest

from tools import kstatus
from tools.cluster.paths import CannotRun


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where that cannot be done, the tests say why."""
    is_asked = any(Path(__file__).parent in item.path.parents for item in session.items)
    if session.config.option.collectonly or not is_asked:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), suppress(CannotRun):
        kstatus.provide()
