"""Another writer scales the same workload, as the API server reports it."""

from tests.operator_api.conftest import Queues
from tools.operator_process import Operator


def test_who_keeps_undoing_the_number_is_named_and_left_alone(queues: Queues, operator: Operator) -> None:
    queues.apply(scaling={"minReplicas": 2, "maxReplicas": 2})
    queues.wait_for_replicas(2)
    as_an_autoscaler(queues, 5)
    queues.wait_for_replicas(2)
    as_an_autoscaler(queues, 5)

    queues.wait_for_condition("Contested", "ReplicasUndone")
    assert "an-autoscaler keeps undoing the operator's number" in queues.wait_for_event("Contested")
    as_an_autoscaler(queues, 4)
    operator.wait_for_polls()
    assert queues.replicas() == 4
    lowered = [message for reason, message in queues.events() if reason == "ScaledDown"]
    assert len([message for message in lowered if " to 2: " in message]) == 1, lowered  # on its way there by steps


def as_an_autoscaler(queues: Queues, replicas: int) -> None:
    queues.kubectl(
        *("patch", "deployment", "notifications-worker", "--subresource=scale", "--type=merge"),
        *("--field-manager=an-autoscaler", "-p", f'{{"spec":{{"replicas":{replicas}}}}}'),
    )


def test_a_handler_that_two_queues_name_is_told_of_on_both(queues: Queues, operator: Operator) -> None:
    queues.apply()
    queues.apply("other")

    for name in ("notifications", "other"):
        queues.wait_for_condition("SharedHandlers", "NamedTwice", name=name)
    queues.kubectl("delete", "shq", "other")
    queues.wait_for_condition("SharedHandlers", "NamedOnce")
