"""
What programs under test inherit: nothing of the place where `make test` was typed that would change what they do.

`conftest.py` calls `neutral` before any test is imported; what this process has, all that a test starts inherits.
"""

import locale
import os
import resource
import signal
from contextlib import suppress

from tools.cluster.paths import NODE_ADDRESS, PODS, SERVICES

FOREIGN = ("QUEUE_", "OPERATOR_", "SHARDED_QUEUE_JOURNAL", "REDIS", "VALKEY", "OTEL_", "PROMETHEUS_", "HELM_")
"""Beginnings of the names that the programs under test read: a test sets those that it needs."""

OF_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
"""Meant for the pytest that was typed, not for those that tests start."""

OF_PYTHON = ("PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONWARNDEFAULTENCODING")
"""For looking at a program more closely, which costs memory and makes errors of warnings of other libraries."""

OF_TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE")

NAMES = {*OF_PYTEST, *OF_PYTHON, *OF_TERMINALS}

OF_LANGUAGES = ("LANG", "LANGUAGE", "LC_")
"""Beginnings of the names that say in which language, and in which bytes, programs speak."""

OWN_ADDRESSES = ",".join(("localhost", "127.0.0.1", "::1", NODE_ADDRESS, PODS, SERVICES, ".svc", ".cluster.local"))
"""No proxy stands between programs of this machine; what tests download may need one."""

KEPT_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""Python ignores these itself, and gives its children the defaults back."""


OPEN_FILES = 1024
"""What Linux gives to a process that asks for nothing; macOS gives 256."""


def neutral() -> None:
    forget_variables()
    speak_utf8()
    bypass_proxies()
    let_children_hear()
    open_enough_files()


def forget_variables() -> None:
    for name in [name for name in os.environ if name.startswith(FOREIGN) or name in NAMES]:
        del os.environ[name]


def speak_utf8() -> None:
    """Files of the repository are UTF-8, and sentences of the programs under test are English."""
    for name in [name for name in os.environ if name.startswith(OF_LANGUAGES)]:
        del os.environ[name]
    os.environ["PYTHONUTF8"] = "1"
    with suppress(locale.Error):  # where it does not exist, UTF-8 is the usual one
        locale.setlocale(locale.LC_ALL, "C.UTF-8")


def bypass_proxies() -> None:
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), OWN_ADDRESSES]))


def let_children_hear() -> None:
    """
    Default dispositions for every program that a test starts, also where our caller ignores or blocks signals, as a
    shell does for its background jobs. This process goes on as it was told: a handler that does nothing ignores a
    signal too, but does not outlive `exec`.
    """
    for number in signal.valid_signals() - KEPT_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def open_enough_files() -> None:
    """As far as the hard limit lets us: tests hold hundreds of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
