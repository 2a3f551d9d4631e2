from sharded_queue_operator.controller.entry import restored_history
from tests.unit.sharded_queue_operator.api_server import body


def test_markers_of_an_earlier_operator_count_for_the_spec_that_it_knew() -> None:
    told = {"observedGeneration": 1, "handlers": [{"name": "a", "born": [7], "microsecondsPerRequest": 500_000}]}
    same, other = body(1) | {"status": told}, body(2) | {"status": told}

    assert restored_history(same).counters
    assert not restored_history(other).counters
    assert restored_history(other).service_times.keys() == {"a"}
