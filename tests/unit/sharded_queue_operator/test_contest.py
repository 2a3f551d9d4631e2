"""Other writers of the same workload's replicas, as timelines."""

from typing import Any

from sharded_queue_operator.cluster.contest import REST_SECONDS, Contests, condition
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.workload import applier_of, writer_of

NAME, HPA, OURS = Name("shop", "n"), "kube-controller-manager", "sharded-queue-operator"


def undone_twice() -> Contests:
    """We want 6, the HPA 0, each 15 s."""
    contests = Contests()
    contests.wrote(NAME, 6, 0)
    assert not contests.rests(NAME, 0, HPA, 15)
    contests.wrote(NAME, 6, 15)
    assert contests.rests(NAME, 0, HPA, 30)
    return contests


def test_a_number_that_stays_is_not_contested() -> None:
    contests = Contests()
    contests.wrote(NAME, 6, 0)

    assert not contests.rests(NAME, 6, OURS, 1)
    assert not contests.rests(NAME, 6, OURS, 1_000)


def test_one_change_by_a_person_is_put_right() -> None:
    contests = Contests()
    contests.wrote(NAME, 6, 0)

    assert not contests.rests(NAME, 2, "kubectl", 10)
    assert not contests.rests(NAME, 2, "kubectl", 11), "one change counts once, however often it is seen"


def test_changes_far_apart_count_as_those_of_people() -> None:
    contests = Contests()
    for minute in range(5):
        contests.wrote(NAME, 6, 120 * minute)
        assert not contests.rests(NAME, 2, "kubectl", 120 * minute + 61)


def test_after_two_undone_writes_the_operator_rests() -> None:
    contests = undone_twice()

    assert contests.rests(NAME, 0, HPA, 30 + REST_SECONDS - 1)
    assert not contests.rests(NAME, 0, HPA, 30 + REST_SECONDS)


def test_the_rest_goes_on_while_others_change_the_number() -> None:
    contests = undone_twice()

    assert contests.rests(NAME, 3, HPA, 200)
    assert contests.rests(NAME, 3, HPA, 200 + REST_SECONDS - 1)


def test_after_the_rest_one_write_shows_whether_it_goes_on() -> None:
    contests = undone_twice()
    contests.wrote(NAME, 6, 400)

    assert contests.rests(NAME, 0, HPA, 415)


def test_a_contest_is_over_when_a_number_stood() -> None:
    contests = undone_twice()
    contests.wrote(NAME, 6, 400)
    assert not contests.rests(NAME, 6, OURS, 470)
    contests.wrote(NAME, 5, 500)

    assert not contests.rests(NAME, 0, "kubectl", 510)


def managed(manager: str, *fields: str) -> dict[str, Any]:
    return {"manager": manager, "fieldsV1": {"f:spec": {field: {} for field in fields}}}


def test_the_writer_of_the_replicas_is_found() -> None:
    ours, hpa = managed(OURS, "f:replicas", "f:template"), managed(HPA, "f:replicas")
    other = {"manager": "kubelet", "fieldsV1": {"f:status": {}}}

    assert writer_of({"metadata": {"managedFields": [other, ours]}}) == OURS
    assert writer_of({"metadata": {"managedFields": [ours, hpa]}}) == HPA
    assert writer_of({"metadata": {"managedFields": [other]}}) == ""
    assert writer_of({"metadata": {}}) == ""


def test_the_condition_names_the_other_writer() -> None:
    assert condition(rests=True, writer=HPA).message.startswith(f"{HPA} keeps undoing the operator's number")
    assert condition(rests=False, writer=HPA).status == "False"


def test_another_applier_contests_at_once_however_slowly_it_resets() -> None:
    """A GitOps tool that applies its number each five minutes was overwritten each time, and never named."""

    def managed(manager: str, operation: str) -> dict[str, Any]:
        return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}}}}

    git = {"metadata": {"managedFields": [managed(OURS, "Update"), managed("flux", "Apply")]}}
    assert applier_of(git) == "flux"
    assert applier_of({"metadata": {"managedFields": [managed(OURS, "Apply"), managed(HPA, "Update")]}}) == ""

    found = condition(rests=False, writer=OURS, applier="flux")
    assert (found.status, found.reason) == ("True", "ReplicasApplied")
    assert found.message.startswith("flux applies spec.replicas")
