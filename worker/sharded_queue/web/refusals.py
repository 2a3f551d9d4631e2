"""Whom the console refused, and why: numbers without a bound, and lines of the log with one."""

import logging
from collections.abc import Callable
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from sharded_queue.monitoring.bounds import Window
from sharded_queue.web.people import LONGEST_NAME, People

log = logging.getLogger("sharded_queue.web")

LINES, LINES_EACH = 60, 10
"""Lines about refusals in a window: of all, and of each address or person. Whoever reaches the port can cause them."""


class FewLines:
    """Which of many events get a line of the log."""

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        self._window, self._left_out = Window(elapsed), 0

    def take(self, whose: str) -> int | None:
        """How many events had no line since the last line; None: neither has this one."""
        lines = self._window.counts()
        if lines[whose] >= LINES_EACH or lines.total() >= LINES:
            self._left_out += 1
            return None
        lines[whose] += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Refusals:
    """Refused sign-ins and actions, and what else `/metrics` says of *people*."""

    def __init__(self, people: People) -> None:
        self._registry = CollectorRegistry()
        self._sign_ins = self._counter("sign_ins", "Refused sign-ins")
        self._actions = self._counter("actions", "Refused actions")
        self._gauge("secret_checks", "Secrets that are compared now or wait for it", lambda: len(people.checks))
        self._gauge("users_readable", "0 while the file of users cannot be read, else 1", lambda: not people.fault)
        self._lines_of_sign_ins, self._lines_of_actions = FewLines(), FewLines()

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"sharded_queue_console_refused_{name}", text, ["reason"], registry=self._registry)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"sharded_queue_console_{name}", text, registry=self._registry).set_function(value)

    def refuse_sign_in(self, name: str, address: str, reason: str) -> None:
        self._sign_ins.labels(reason.replace(" ", "_")).inc()
        left_out = self._lines_of_sign_ins.take(address)
        if left_out is not None:
            also = f"; {left_out:,} other refused sign-ins have no line" * bool(left_out)
            log.warning("sign-in of %r from %s refused: %s%s", name[:LONGEST_NAME], address, reason, also)

    def refuse_action(self, person: str, reason: str) -> int | None:
        """How many refused actions had no line since the last line; None: neither has this one."""
        self._actions.labels(reason.replace(" ", "_")).inc()
        return self._lines_of_actions.take(person)

    def exposition(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self._registry)
