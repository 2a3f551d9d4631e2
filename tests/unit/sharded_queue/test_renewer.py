"""What the renewals of a worker notice beside: handlers that do not return."""

from sharded_queue.worker.lease_renewer import LONG_CALL_SECONDS, LongCalls


class Lane:
    """As long calls see one."""

    called_since: float | None = 100.0


def told(calls: LongCalls, lane: Lane, *moments: float) -> list[float]:
    return [seconds for now in moments if (seconds := calls.seconds(lane, now))]


def test_a_call_is_told_after_a_minute_and_each_time_that_has_doubled() -> None:
    seconds = told(LongCalls(), Lane(), *(100.0 + 5 * number for number in range(121)))

    assert seconds == [60.0, 120.0, 240.0, 480.0]
    assert seconds[0] == LONG_CALL_SECONDS


def test_another_call_is_told_anew() -> None:
    calls, lane = LongCalls(), Lane()
    assert told(calls, lane, 1000.0) == [900.0]
    lane.called_since = 1000.0

    assert told(calls, lane, 1059.0, 1061.0) == [61.0]


def test_a_lane_that_is_in_no_call_is_not_told() -> None:
    lane = Lane()
    lane.called_since = None

    assert told(LongCalls(), lane, 1e9) == []
