"""Programs under test do the same wherever `make test` is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.surroundings import NODE_ADDRESS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, locale, os, resource, signal
from urllib.request import proxy_bypass

def is_default(name):
    return signal.getsignal(getattr(signal, name)) in (signal.SIG_DFL, signal.default_int_handler)

print(json.dumps({
    "signals": [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD") if not is_default(name)],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "bytes": locale.getpreferredencoding(False),
    "variables": dict(os.environ),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "direct": [host for host in ("127.0.0.1", "localhost", "198.18.255.1") if proxy_bypass(host)],
}))
"""
"""Tells what it got."""

TEST = """
import locale, subprocess, sys
from tests.harness import surroundings

surroundings.neutral()
assert locale.getencoding() == "UTF-8"
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""
"""Starts a program, as a test does."""


def started_from(shell: str, **variables: str) -> dict[str, Any]:
    """What that program tells where a shell did something before it started pytest."""
    command = ["sh", "-c", f'{shell}; exec "$@"', "sh", sys.executable, "-c", TEST, PROGRAM]
    environment = {"PATH": os.environ["PATH"], **variables}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_signals_that_the_caller_ignores_reach_programs_under_test() -> None:
    """Shells ignore SIGINT for their background jobs, `nohup` ignores SIGHUP, and a child inherits that."""
    assert started_from("trap '' INT TERM HUP QUIT CHLD")["signals"] == []


def test_signals_that_the_caller_blocks_reach_programs_under_test() -> None:
    blocking = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); os.execv(sys.argv[1], sys.argv[1:])"
    )

    assert started_from(f"""set -- "$1" -c '{blocking}' "$@" """)["blocked"] == []


@pytest.mark.parametrize(
    "name",
    [
        "QUEUE_WORKER_BATCH_SIZE",
        "QUEUE_NO_SUCH",
        "OPERATOR_NAMESPACES",
        "REDISCLI_AUTH",
        "PYTEST_ADDOPTS",
        "FORCE_COLOR",
        "PYTHONASYNCIODEBUG",
    ],
)
def test_variables_of_the_caller_reach_no_program_under_test(name: str) -> None:
    assert name not in started_from(":", **{name: "3"})["variables"]


@pytest.mark.parametrize("language", ["POSIX", "tr_TR", "nowhere"])
def test_programs_under_test_speak_utf8(language: str) -> None:
    found = started_from(":", LC_ALL=language, LANGUAGE="tr", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert found["bytes"].lower() == "utf-8"
    assert not {"LC_ALL", "LANGUAGE"} & set(found["variables"])


def test_no_proxy_stands_between_programs_of_this_machine() -> None:
    found = started_from(":", http_proxy="http://127.0.0.1:9", no_proxy="example.org")

    assert found["direct"] == ["127.0.0.1", "localhost", NODE_ADDRESS]
    assert found["variables"]["no_proxy"].startswith("example.org,")


@pytest.mark.parametrize(("limits", "files"), [("-S -n 256", 1024), ("-n 256", 256)], ids=["soft", "hard"])
def test_programs_under_test_may_open_as_many_files_as_usual_where_they_can(limits: str, files: int) -> None:
    assert started_from(f"ulimit {limits}")["files"] == files
