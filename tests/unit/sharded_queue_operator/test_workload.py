from sharded_queue_operator.resource.workload import Workload


def test_a_workload_is_read_with_the_defaults_of_the_server() -> None:
    workload = Workload.of(
        {"metadata": {"resourceVersion": "1"}, "spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}}
    )

    assert (workload.wanted, workload.existing, workload.ready) == (1, 0, 0)
    assert workload.selector == "a=1,b=2"
