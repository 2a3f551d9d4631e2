"""What a failure of a handler is worth: what counts as one, how long its thread waits, and what is kept of it."""

import asyncio
import logging
import random

from sharded_queue.errors import describe, traceback_of
from sharded_queue.handler import Handler, Retry, checked_policy
from sharded_queue.lease import Lease
from sharded_queue.printable import counted
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


def delay_seconds(policy: Retry, attempt: int) -> float:
    """Seconds that a thread waits after the failed *attempt* (from 1): exponential, less a random part."""
    full = min(policy.cap_seconds, policy.base_seconds * (1 << min(attempt - 1, 60)))
    return full * (1 - policy.jitter * random.random())  # noqa: S311 - spreads retries, no secret


def failure_of(batch: Batch, attempt: int, error: BaseException, delay: float | None, call: int) -> Failure:
    """The first request of *batch* failed; without a *delay*, it becomes a dead letter."""
    said, where = describe(error), traceback_of(error)
    return Failure(batch.lease, batch.tube.priority, batch.first, attempt, said, delay, call, where)


def failure_of_all(batch: Batch, count: int, error: BaseException, call: int) -> Failure:
    """The call of the first *count* requests of *batch* failed: no request is to blame yet."""
    last = batch.first + count - 1
    return Failure(batch.lease, batch.tube.priority, batch.first, 0, describe(error), call=call, last=last)


def log_failure(handler: type[Handler], lease: Lease, count: int, error: BaseException, known: str | None) -> None:
    """*known*: an error of this lane that is in the log with its traceback."""
    said = describe(error)
    trace = None if said == known else error
    log.warning("%s failed on %s of %s: %s", handler.name, counted(count, "request"), lease, said, exc_info=trace)
