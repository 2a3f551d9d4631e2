"""What counts as a change of a Deployment, and what does not."""

from typing import Any

import pytest

from sharded_queue_operator.cluster.drift import digest, part_of

OURS = {"spec": {"replicas": 2, "template": {"containers": [{"name": "worker", "image": "a"}]}}}


def theirs(**worker: Any) -> dict[str, Any]:
    """What the server makes of `OURS`: defaults beside our fields, containers of others between ours."""
    containers = [{"name": "injected"}, {"name": "worker", "image": "a", "pullPolicy": "Always", **worker}]
    return {"spec": {"replicas": 2, "paused": False, "template": {"containers": containers}}, "status": {}}


def test_fields_and_items_of_others_are_not_compared() -> None:
    assert part_of(theirs(), OURS) == OURS


@pytest.mark.parametrize(
    "changed",
    [
        theirs(image="b"),
        {"spec": {**theirs()["spec"], "template": {"containers": [{"name": "injected"}]}}},
        {"spec": None},
    ],
)
def test_a_changed_or_missing_field_of_ours_shows(changed: dict[str, Any]) -> None:
    assert part_of(changed, OURS) != OURS


def test_a_list_without_names_counts_as_a_whole() -> None:
    assert part_of({"args": ["a", "b"]}, {"args": ["a"]}) == {"args": ["a", "b"]}


def test_a_volume_may_be_mounted_twice() -> None:
    mounts = {"volumeMounts": [{"name": "tmp", "mountPath": "/a"}, {"name": "tmp", "mountPath": "/b"}]}

    assert part_of(mounts, mounts) == mounts


@pytest.mark.parametrize("name", [{}, [], None, 1])
def test_a_list_with_invalid_names_counts_as_a_whole(name: object) -> None:
    """Such a name once made each reconciliation fail, and no condition said why."""
    items = [{"name": name, "value": "a"}]

    assert part_of({"list": items}, {"list": items}) == {"list": items}
    assert part_of({"list": items}, {"list": [{"name": "b"}]}) == {"list": [None]}


def test_replicas_are_not_part_of_the_digest() -> None:
    assert digest(OURS) == digest({"spec": {**OURS["spec"], "replicas": 9}})
    assert digest(OURS) != digest({"spec": {"replicas": 2}})
