"""
The request at the head of a tube failed: its thread backs off. Where no try is left, the request becomes a dead letter,
or its thread stops. Or a call of several requests failed: each of them is handed out alone from here on. Or one of them
snoozes: the thread waits, and no try is counted.
"""

import re

from sharded_queue.backends.memory.shard import FailureRecord, HoldRecord, MemoryShard
from sharded_queue.printable import counted
from sharded_queue.state import PastFailure
from sharded_queue.storage import TRACEBACK_KEPT, Failure

COUNTED = re.compile(r"(cannot start|snoozed) \((\d+)\): ")


def fail(shard: MemoryShard, failure: Failure, now: int) -> bool:
    lease, priority, sequence, *_, call = failure[:7]
    if not (held := shard.held_by(lease)):
        return False
    tube = shard.tube(lease.thread, priority)
    if tube is None or tube.head > sequence or held.is_answered(call):
        return True
    if held.priority != priority or tube.head != sequence or sequence > held.last:
        return False
    held.call = held.call if call is None else call
    if failure.most_snoozes is not None:
        _snooze(shard, failure, held, failure.most_snoozes, now)
    elif failure.last is not None:
        _take_apart(shard, failure, held, failure.last)
    elif failure.delay_seconds is None:
        _give_up(shard, failure, held, now)
    else:
        _back_off(shard, failure, max(0, int(failure.delay_seconds * 1000)), now)
    return True


def _take_apart(shard: MemoryShard, failure: Failure, held: HoldRecord, last: int) -> None:
    """No request is to blame. The first one stays in the hands of the holder."""
    tube, sequence = (failure.lease.thread, failure.priority), failure.sequence
    if held.last > sequence:  # when it comes again, the first one is alone already
        last = max(min(last, held.last), _last_suspect(shard.failures.get(tube), sequence))
        shard.failures[tube] = FailureRecord(sequence, last, error=failure.error)
        held.first = held.last = sequence


def _last_suspect(record: FailureRecord | None, sequence: int) -> int:
    return max(sequence, record.last if record else sequence)


def _give_up(shard: MemoryShard, failure: Failure, held: HoldRecord, now: int) -> None:
    """The request becomes a dead letter, and its holder goes on with the thread; or it stops the thread."""
    thread, sequence = failure.lease.thread, failure.sequence
    _exhaust(shard, failure, failure.error, now)
    if failure.stops:
        shard.let_go(thread)
        return
    held.first, held.last = sequence + 1, sequence
    if thread not in shard.threads:
        held.since_ms = 0


def _exhaust(shard: MemoryShard, failure: Failure, error: str, now: int) -> None:
    """No try of the request is left."""
    thread, priority = failure.lease.thread, failure.priority
    _note(shard, failure, error, now)
    if failure.stops:
        record = _record_of(shard, failure)
        record = record._replace(attempts=failure.attempt - record.crashes, error=error.partition("\n")[0])
        shard.failures[thread, priority] = record
        shard.stop(thread, priority, now)
    else:
        shard.dead_letter(thread, priority, failure.attempt, error, now, failure.traceback)


def _back_off(shard: MemoryShard, failure: Failure, delay_ms: int, now: int) -> None:
    thread = failure.lease.thread
    delay_ms = _note_attempt(shard, failure, delay_ms)
    _note(shard, failure, shard.failures[thread, failure.priority].error, now)
    shard.follow_clock(now)
    shard.let_go(thread)
    shard.hold_back(thread, now + delay_ms)


def _note(shard: MemoryShard, failure: Failure, error: str, now: int) -> None:
    traceback = failure.traceback[-TRACEBACK_KEPT:]
    past = PastFailure(now, failure.priority, failure.sequence, failure.attempt, error, traceback)
    shard.note_failed(failure.lease.thread, past)


def _snooze(shard: MemoryShard, failure: Failure, held: HoldRecord, most: float, now: int) -> None:
    assert failure.delay_seconds is not None
    assert failure.last is not None
    thread, tube, sequence = failure.lease.thread, (failure.lease.thread, failure.priority), failure.sequence
    record = _record_of(shard, failure)
    if (snoozes := _times("snoozed", record)) > most:
        reason = f"snoozed {counted(int(most), 'time')} in a row, last for {failure.error}"
        _exhaust(shard, failure, reason, now)
        shard.let_go(thread)
        shard.make_ready(thread)
        return
    last, error = max(record.last, min(failure.last, held.last)), f"snoozed ({snoozes}): {failure.error}"
    attempts = failure.attempt - record.crashes
    shard.failures[tube] = FailureRecord(sequence, last, attempts, record.crashes, error)
    shard.follow_clock(now)
    shard.let_go(thread)
    shard.hold_back(thread, now + int(failure.delay_seconds * 1000))


def _times(what: str, record: FailureRecord) -> int:
    """How often in a row the request has snoozed, or its handler could not start, with this time."""
    before = COUNTED.match(record.error)
    return int(before[2]) + 1 if before and before[1] == what else 1


def _record_of(shard: MemoryShard, failure: Failure) -> FailureRecord:
    """What is noted of the request, or a new record."""
    record = shard.failures.get((failure.lease.thread, failure.priority))
    if record and record.sequence == failure.sequence:
        return record
    return FailureRecord(failure.sequence, _last_suspect(record, failure.sequence))


def _note_attempt(shard: MemoryShard, failure: Failure, delay_ms: int) -> int:
    """Returns the back-off, which doubles with each failed start in a row."""
    record = _record_of(shard, failure)
    error = failure.error
    if failure.cap_seconds is not None:
        starts = _times("cannot start", record)
        delay_ms = int(min(failure.cap_seconds * 1000, delay_ms << min(starts - 1, 60)))
        error = f"cannot start ({starts}): {error}"
    tube = failure.lease.thread, failure.priority
    shard.failures[tube] = record._replace(attempts=failure.attempt - record.crashes, error=error)
    return delay_ms
