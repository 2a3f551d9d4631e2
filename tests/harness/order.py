"""A new order of the tests in each run, so that none comes to need another one before it."""

import os
import random
from collections.abc import Iterable
from itertools import groupby

import pytest


def seed(name: str) -> int:
    """The number in this variable of the environment, or a new one; the processes of pytest-xdist inherit it."""
    return int(os.environ.setdefault(name, str(random.SystemRandom().randrange(2**32))))


def uses_kubernetes(item: pytest.Item) -> bool:
    return not {"cluster", "api_server"}.isdisjoint(getattr(item, "fixturenames", ()))


def shuffle(items: Iterable[pytest.Item], seed: int) -> list[pytest.Item]:
    """
    Files in a random order, and the tests of each file: what a file sets up once is still set up once. Tests on the
    cluster come first, in their own order: they take longest, and start where the one before left the cluster. Those
    marked as long come next, or a process of pytest-xdist would sit over one at the end, alone.
    """
    chance = random.Random(seed)
    first = [item for item in items if uses_kubernetes(item)]
    files = [list(tests) for _, tests in groupby((i for i in items if not uses_kubernetes(i)), lambda item: item.path)]
    for tests in [files, *files]:
        chance.shuffle(tests)  # type: ignore[arg-type]
    others = [test for tests in files for test in tests]
    return first + sorted(others, key=lambda item: item.get_closest_marker("long") is None)
