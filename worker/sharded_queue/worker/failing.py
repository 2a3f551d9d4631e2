"""What becomes of the requests of a lane that cannot be handled: tried again, one by one, or exhausted."""

import logging
from typing import Protocol

from sharded_queue.errors import SerializationError, describe
from sharded_queue.handler import Handler, Retry
from sharded_queue.outcomes import GiveUp, Snooze, cause_of
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.worker.calls import Called, HandlerCalls
from sharded_queue.worker.failures import (
    delay_seconds,
    failure_of_all,
    last_words,
    policy_of,
    snooze_of_all,
    stops,
    verdict_on,
)
from sharded_queue.worker.hold import Hold
from sharded_queue.worker.lane_state import RELEASED

log = logging.getLogger("sharded_queue")


class Failed(Protocol):
    """What a failure needs of its lane."""

    @property
    def handler(self) -> type[Handler]: ...

    @property
    def hold(self) -> Hold: ...

    @property
    def calls(self) -> HandlerCalls: ...

    alone_until: int
    """The last request of a batch that failed: those up to it come one by one."""

    def failure(self, batch: Batch, attempt: int, error: BaseException, delay: float | None) -> Failure: ...

    def note_handled(self, batch: Batch, done: int, seconds: float) -> None:
        """The first *done* requests are settled."""


class Failing:
    """A failure of *lane*. Each step returns the batch that the lane goes on with, if it keeps its thread."""

    __slots__ = ("_handler", "_hold", "_lane")

    def __init__(self, lane: Failed) -> None:
        self._lane, self._handler, self._hold = lane, lane.handler, lane.hold

    async def take_apart(self, batch: Batch, count: int, error: BaseException) -> Batch | None:
        """
        The call of the first *count* requests failed. From here on each is handed out alone and settled, the last one
        too, whatever happens meanwhile: none is handled more than twice because of another one.
        """
        if not await self._keep_apart(batch, count, error):
            return self._hold.hear(Settled(is_lost=True))
        self._lane.calls.known_error = describe(error)
        return self._hold.hear(Settled(batch._replace(messages=batch.messages[:1])))

    async def settle(self, batch: Batch, count: int, called: Called, flaw: SerializationError | None) -> Batch | None:
        """
        The call of the first *count* requests failed, or the one behind them cannot be read. What is handled is settled
        whatever becomes of the rest.
        """
        error = called.error
        done = count if error is None else called.done
        if not done and count > 1 and error is not None:
            return await self._search(batch, count, error)
        if done and not await self._settle_first(batch, done, called.seconds):
            return self._hold.hear(Settled(is_lost=True))
        attempt = batch.attempt if done == 0 else 1
        culprit = batch._replace(first=batch.first + done, messages=batch.messages[done:], attempt=attempt)
        if error is None:
            assert flaw
            return await self._exhaust(culprit, flaw, policy_of(self._handler))
        if attempt == 1:
            self._lane.calls.note_waits(culprit.messages[:1])
        if count - done > 1 and not await self._keep_apart(culprit, count - done, error):
            return self._hold.hear(Settled(is_lost=True))
        return await self._judge(culprit, attempt, error)

    async def settle_cut(self, batch: Batch) -> None:
        """The running call was cut off. What it reported done is settled before the thread is let go."""
        cut = self._lane.calls.cut
        if not cut or not cut.done:
            return
        try:
            if not await self._settle_first(batch, cut.done, cut.seconds):
                self._hold.hear(Settled(is_lost=True))
        except Exception as error:
            log.warning("%d requests of %s are handled again: %s", cut.done, self._hold.lease, describe(error))

    async def _settle_first(self, batch: Batch, done: int, seconds: float) -> bool:
        """The first *done* requests are handled. False: the lease was lost."""
        through, number = batch.first + done - 1, self._hold.number_call()
        settlement = Settlement(self._hold.lease, batch.tube.priority, through, seconds, call=number)
        if (await self._hold.settle(settlement)).is_lost:
            return False
        self._lane.note_handled(batch, done, seconds)
        return True

    async def _search(self, batch: Batch, count: int, error: BaseException) -> Batch | None:
        """Which of the first *count* requests the error is about is not known."""
        if isinstance(cause := cause_of(error), Snooze):
            await self.snooze(batch, count, cause)
            return None
        return await self.take_apart(batch, count, error)

    async def _keep_apart(self, culprit: Batch, count: int, error: BaseException) -> bool:
        """
        The call of the first *count* requests failed at the first of them. Those behind it may have been begun: they
        come one by one, as none is to be handled more than twice because of another one. False: the lease was lost.
        """
        self._lane.alone_until = culprit.first + count - 1
        return await self._hold.fail(failure_of_all(culprit, count, error, self._hold.number_call()))

    async def _judge(self, culprit: Batch, attempt: int, error: BaseException) -> Batch | None:
        verdict = verdict_on(self._handler, error, attempt)
        if isinstance(verdict, Snooze):
            await self.snooze(culprit, 1, verdict)
            return None
        if isinstance(verdict, GiveUp):
            return await self._exhaust(culprit, last_words(error, verdict), policy_of(self._handler))
        if attempt >= verdict.limit:
            return await self._exhaust(culprit, error, verdict)
        await self._put_off(culprit, attempt, error, verdict)
        return None

    async def snooze(self, batch: Batch, count: int, snooze: Snooze) -> None:
        """One of the first *count* requests, which were handed out in one call, cannot be handled yet."""
        failure = snooze_of_all(batch, count, snooze, policy_of(self._handler), self._hold.number_call())
        if await self._hold.fail(failure):
            log.info("%s snoozes: %s", self._hold.lease, snooze)
        self._hold.to(RELEASED)

    async def put_off_start(self, batch: Batch, error: BaseException) -> None:
        """No request is to blame, so no request's attempts count up; failed starts are counted separately."""
        policy = policy_of(self._handler)
        failure = self._lane.failure(batch, batch.attempt - 1, error, delay_seconds(policy, 1))
        await self._hold.fail(failure._replace(cap_seconds=policy.cap_seconds))
        self._hold.to(RELEASED)

    async def fail_try(self, batch: Batch, error: BaseException) -> None:
        """An unexpected error is a failed try: it is counted, and repeated only after a pause."""
        try:
            policy = policy_of(self._handler)
            if batch.attempt < policy.limit:
                await self._put_off(batch, batch.attempt, error, policy)
            elif await self._hold.fail(self._last_failure(batch, error, policy)) and stops(policy):
                self._hold.to(RELEASED)
        except Exception:
            log.exception("%s is left to expire", self._hold.lease)
            self._hold.to(RELEASED)

    async def _put_off(self, batch: Batch, attempt: int, error: BaseException, policy: Retry) -> None:
        """The whole thread waits: no request may overtake the one that failed."""
        delay = delay_seconds(policy, attempt)
        if await self._hold.fail(self._lane.failure(batch, attempt, error, delay)):
            log.info("%s waits %.2f s after attempt %d", self._hold.lease, delay, attempt)
        self._hold.to(RELEASED)

    async def _exhaust(self, batch: Batch, error: BaseException, policy: Retry) -> Batch | None:
        """No try of the first request of *batch* is left."""
        end = "stops its thread" if stops(policy) else "goes to the dead letters"
        log.error("request %d of %s %s: %s", batch.first, batch.tube, end, describe(error))
        if not await self._hold.fail(self._last_failure(batch, error, policy)):
            return self._hold.hear(Settled(is_lost=True))
        if stops(policy):
            self._hold.to(RELEASED)
            return None
        return await self._hold.fetch_anew()

    def _last_failure(self, batch: Batch, error: BaseException, policy: Retry) -> Failure:
        return self._lane.failure(batch, batch.attempt, error, None)._replace(stops=stops(policy))
