"""Computations in processes of a worker: its other threads, a process that is killed, a worker that is killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.examples.recipe import Recipe
from tests.harness.cli_process import CommandProcess
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
BEGIN = "def count_primes(below: int) -> int:\n"
UNTIL_GO = """    import pathlib, time
    print("computing", flush=True)
    while below == 100 and not pathlib.Path("go").exists():
        time.sleep(0.01)
"""
SLOW = {"primes.py": {BEGIN: BEGIN + UNTIL_GO}, "counting.py": {"Processes() as": "Processes(2) as"}}
"""The primes below 100 take until the test says go."""

KILLED_ONCE = """    import os, pathlib
    if not pathlib.Path("killed").exists():
        pathlib.Path("killed").touch()
        os.kill(os.getpid(), 9)
"""
WORKER = "sharded-queue worker counting"
IN_PROCESSES = "await asyncio.gather(*[self.processes.run(count_primes, count.below) for count in counts])"
Open = Callable[..., Recipe]


@pytest.fixture
def opened(ask: Ask, redis_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    recipes: list[Recipe] = []

    def make(changes: dict[str, dict[str, str]]) -> Recipe:
        recipes.append(Recipe("cpu-bound", redis_server, copy=tmp_path / "copy", changes=changes))
        return recipes[-1]

    yield make
    for recipe in recipes:
        recipe.__exit__()


@pytest.mark.usefixtures("ask")
def test_the_commands_of_the_page_count_in_order(redis_server: RedisServer) -> None:
    with Recipe("cpu-bound", redis_server) as recipe:
        worker, _ = recipe.follow()
        worker.line("ann: 148933 primes below 2000000")

        assert next(line for line in worker.said if line.startswith("ann:")) == "ann: 78498 primes below 1000000"


def with_ann_computing(recipe: Recipe) -> CommandProcess:
    """A worker that computes for one client when it gets a request of another one."""
    recipe.run("python counting.py ann 100")
    worker = recipe.start(WORKER, QUEUE_WORKER_CONCURRENCY="2")
    worker.line("computing")
    recipe.run("python counting.py bob 10")
    return worker


def test_other_threads_of_the_worker_go_on_meanwhile(opened: Open) -> None:
    recipe = opened(SLOW)
    worker = with_ann_computing(recipe)
    worker.line("bob: 4 primes below 10")
    assert "ann:" not in worker.text

    (recipe.folder / "go").touch()
    worker.line("ann: 25 primes below 100")


def test_in_the_event_loop_a_computation_would_hold_them_up(opened: Open) -> None:
    in_the_loop = SLOW["counting.py"] | {IN_PROCESSES: "[count_primes(count.below) for count in counts]"}
    recipe = opened(SLOW | {"counting.py": in_the_loop})
    worker = with_ann_computing(recipe)
    (recipe.folder / "go").touch()
    worker.line("bob: 4 primes below 10")

    lines = [line for line in worker.said if "primes below" in line]
    assert lines == ["ann: 25 primes below 100", "bob: 4 primes below 10"]


def test_a_killed_process_is_a_failed_try(opened: Open) -> None:
    recipe = opened({"primes.py": {BEGIN: BEGIN + KILLED_ONCE}})
    recipe.run("python counting.py ann 100")
    worker = recipe.start(WORKER)
    worker.line("BrokenProcessPool")

    worker.line("ann: 25 primes below 100")


def test_a_killed_worker_leaves_no_processes(opened: Open) -> None:
    recipe = opened(SLOW)
    recipe.run("python counting.py ann 100")
    worker = recipe.start(WORKER)
    worker.line("computing")
    worker.kill()

    assert worker.is_silent  # nothing that it started has its output open
