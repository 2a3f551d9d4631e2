"""The examples of the README and of the guide to handlers do what they say, as printed."""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.redis_server import RedisServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "handlers.md"
PRODUCERS = ROOT / "docs" / "producers.md"
PIP = (sys.executable, "-m", "pip")


def examples(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page.name} has no {language} example"
    return found


def is_test(example: str) -> bool:
    return "def test_" in example


def ran(example: str, **env: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", example]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30, cwd="/", env=os.environ | env)


def test_the_first_queue_handles_all_requests_in_order_and_ends() -> None:
    (example,) = examples(README, "python")

    assert sorted(ran(example).stdout.splitlines()) == sorted(re.findall(r"`(notifying [\d ]+)`", README.read_text()))


def test_the_first_queue_runs_on_what_the_readme_installs(tmp_path: Path) -> None:
    """With the wheel and the packages it needs at hand, so that nothing is fetched."""
    build = [*PIP, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True, timeout=60)
    command = next(line for line in README.read_text().splitlines() if line.startswith("pip install "))
    _, *words = shlex.split(command, comments=True)
    offline = ["--quiet", "--no-deps", "--no-index", "--find-links", tmp_path, "--target", tmp_path]
    subprocess.run([*PIP, *words, *offline], check=True, timeout=60)
    (example,) = examples(README, "python")

    done = ran(f"{example}\nimport sharded_queue\nprint(sharded_queue.__file__)", PYTHONPATH=str(tmp_path))

    assert done.stdout.splitlines()[-1] == str(tmp_path / "sharded_queue" / "__init__.py")


async def test_the_examples_of_the_guide_run_one_after_another() -> None:
    namespace: dict[str, Any] = {"__name__": "guide"}
    for example in examples(GUIDE, "python"):
        if not is_test(example):
            code = compile(example, GUIDE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, namespace)
            if inspect.isawaitable(running):
                await running

    assert await namespace["queue"].schedules(namespace["ReportHandler"])


def test_the_tests_of_a_user_pass(tmp_path: Path) -> None:
    found = [*filter(is_test, examples(GUIDE, "python"))]
    for number, example in enumerate(found):
        (tmp_path / f"test_{number}.py").write_text(example)
    words = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout
    assert len(found) == 2
    assert "3 passed" in done.stdout


def test_the_examples_of_a_program_that_is_not_async_run(redis_server: RedisServer) -> None:
    """Registering, and then looking and acting: that thread is paused, and nothing of it has died."""
    registering, acting = examples(PRODUCERS, "python")
    environment = {"QUEUE_REDIS_ADDRESS": redis_server.address, "QUEUE_TUBE_PREFIX": "producers_"}
    said = ran(f"{registering}\nprint(len(receipts))\n{acting}", **environment).stdout.splitlines()

    assert said[0] == "2"
    assert said[1].startswith("2 ")
    assert said[-1] == "0 {}"
