"""
The plugin of pytest: the fixture `sandbox`.

It is a package of its own because pytest imports its plugins first. Here belongs only what imports the library when a
test asks for it: the library reads its settings on import, and a user's `conftest.py` may set the environment before.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sharded_queue.testing import Sandbox


@pytest.fixture
def sandbox() -> "Sandbox":
    """A `sharded_queue.testing.Sandbox` of the test's own: a queue in memory, whose worker runs when it is told to."""
    from sharded_queue.testing import Sandbox  # noqa: PLC0415 - see above

    return Sandbox()
