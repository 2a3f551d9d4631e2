"""What a failure of a handler is worth: what counts as one, how long its thread waits, and what is kept of it."""

import asyncio
import logging
import math
import random

from sharded_queue.errors import DESCRIBED_CHARACTERS, describe, traceback_of
from sharded_queue.handler import Handler, Retry, checked_policy
from sharded_queue.lease import Lease
from sharded_queue.outcomes import GiveUp, Snooze, cause_of
from sharded_queue.printable import counted, printable
from sharded_queue.storage import Batch, Failure

log = logging.getLogger("sharded_queue")
FAILURES = (Exception, BaseExceptionGroup, SystemExit, asyncio.CancelledError)
"""
What a handler may raise without harm to its worker. `HandlerCalls.is_cancelled` tells whose a cancellation is.
"""


def policy_of(handler: type[Handler]) -> Retry:
    """A policy that raises, or is none, must not keep a failure from being counted."""
    try:
        return checked_policy(handler)
    except Exception:
        log.exception("%s.policy() failed; using the defaults of the settings", handler.name)
        return Handler.policy()


def stops(policy: Retry) -> bool:
    """Whether a request without tries stops its thread."""
    return policy.exhausted == "pause"


def verdict_on(handler: type[Handler], error: BaseException, attempt: int) -> Retry | GiveUp | Snooze:
    """What becomes of a request that failed alone with *error* at its *attempt*."""
    cause = cause_of(error)
    if isinstance(cause, GiveUp | Snooze):
        return cause
    said = _answer_to(handler, cause, attempt)
    verdict = policy_of(handler) if said is None else said
    return GiveUp() if isinstance(verdict, Retry) and isinstance(cause, verdict.give_up_on) else verdict


def _answer_to(handler: type[Handler], error: BaseException, attempt: int) -> Retry | GiveUp | Snooze | None:
    """What `on_error` says. One that raises, or answers with something else, must not keep a failure uncounted."""
    try:
        said: object = handler.on_error(error, attempt)
    except Exception:
        log.exception("%s.on_error() failed; its policy decides", handler.name)
        return None
    if said is None or isinstance(said, Retry | GiveUp | Snooze):
        return said
    log.error(
        "%s.on_error() returned %.80r, not a Retry, GiveUp, Snooze or None; its policy decides", handler.name, said
    )
    return None


def last_words(error: BaseException, verdict: GiveUp) -> BaseException:
    """What a dead letter says: the reason to give up, raised from *error* if that is another one."""
    if cause_of(error) is verdict:
        return verdict
    if not verdict.args:
        return error
    verdict.__cause__ = error
    return verdict


def delay_seconds(policy: Retry, attempt: int) -> float:
    """Seconds that a thread waits after the failed *attempt* (from 1): exponential, less a random part."""
    full = min(policy.cap_seconds, policy.base_seconds * (1 << min(attempt - 1, 60)))
    return full * (1 - policy.jitter * random.random())  # noqa: S311 - spreads retries, no secret


def failure_of(batch: Batch, attempt: int, error: BaseException, delay: float | None, call: int) -> Failure:
    """The first request of *batch* failed; without a *delay*, no try of it is left."""
    said, where = describe(error), traceback_of(error)
    return Failure(batch.lease, batch.tube.priority, batch.first, attempt, said, delay, call, where)


def failure_of_all(batch: Batch, count: int, error: BaseException, call: int) -> Failure:
    """The call of the first *count* requests of *batch* failed: no request is to blame yet."""
    last = batch.first + count - 1
    return Failure(batch.lease, batch.tube.priority, batch.first, 0, describe(error), call=call, last=last)


def snooze_of_all(batch: Batch, count: int, snooze: Snooze, policy: Retry, call: int) -> Failure:
    """One of the first *count* requests of *batch*, handed out in one call, snoozes."""
    last, most = batch.first + count - 1, policy.max_snoozes
    bound = math.inf if most is None else most
    said, attempt = printable(snooze, DESCRIBED_CHARACTERS), batch.attempt - 1
    place = batch.lease, batch.tube.priority, batch.first, attempt, said, snooze.seconds, call
    return Failure(*place, last=last, most_snoozes=bound, stops=stops(policy))


def log_failure(handler: type[Handler], lease: Lease, count: int, error: BaseException, known: str | None) -> None:
    """*known*: an error of this lane that is in the log with its traceback."""
    said = describe(error)
    trace = None if said == known else error
    log.warning("%s failed on %s of %s: %s", handler.name, counted(count, "request"), lease, said, exc_info=trace)
