"""Which release of sharded-queue is installed."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Its number, or `unknown` where the code is on the path and nothing is installed."""
    try:
        return version("sharded-queue")
    except PackageNotFoundError:
        return "unknown"
