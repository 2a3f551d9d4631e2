"""What the operator and the users may do: as little as will do, with a reason for each."""

import re
from itertools import pairwise, product

import pytest

from tests.chart.helm import CHART, NAMESPACE, VALUES, Manifest, of_kind, rendered, values

RULES = ("Role", "ClusterRole")
NAMESPACED = values("namespaced")
FILES = sorted(file.stem for file in VALUES.glob("*.yaml"))


def rules(objects: list[Manifest], kind: str, name: str) -> list[Manifest]:
    """The rules of each object of that kind and name; of several namespaces, they must be the same."""
    found = [each["rules"] for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    assert found
    assert all(each == found[0] for each in found)
    return list(found[0])


def test_namespaced_mode_has_roles_only() -> None:
    objects = rendered(*NAMESPACED)

    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    placed = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in of_kind(objects, "Role")}
    name = "test-sharded-queue-operator"
    assert placed == {("shop", f"queues-{name}"), ("billing", f"queues-{name}"), (NAMESPACE, f"{name}-lease")}


def test_nothing_of_a_namespaced_release_is_of_the_cluster() -> None:
    """So that somebody without any right on the cluster can install it."""
    assert all("namespace" in each["metadata"] for each in rendered(*NAMESPACED))


def test_one_namespace_takes_the_same_rights_as_all() -> None:
    ours = "--set=rbac.secretNames={redis-auth}"
    everywhere = rules(rendered(ours), "ClusterRole", "queues-test-sharded-queue-operator")

    assert rules(rendered(*NAMESPACED), "Role", "queues-test-sharded-queue-operator") == everywhere


@pytest.mark.parametrize("name", FILES)
def test_no_right_is_a_wildcard(name: str) -> None:
    for role in of_kind(rendered(*values(name)), *RULES):
        for rule in role["rules"]:
            granted = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not [word for word in granted if "*" in word]


def test_operator_may_not_read_what_is_not_its_business() -> None:
    """It reads single Secrets by name; it starts and deletes no pod, and touches no node and no right."""
    granted = rules(rendered(), "ClusterRole", "queues-test-sharded-queue-operator")
    pairs = {pair for rule in granted for pair in product(rule["resources"], rule["verbs"])}

    assert {verb for resource, verb in pairs if resource == "secrets"} == {"get"}
    assert {verb for resource, verb in pairs if resource == "events"} == {"create"}
    assert {verb for resource, verb in pairs if resource == "shardedqueues"} == {"list", "watch", "patch"}
    assert {verb for resource, verb in pairs if resource == "pods"} == {"get", "list", "watch", "patch"}
    assert not {resource for resource, _ in pairs} & {"nodes", "namespaces", "roles", "clusterroles"}
    assert not {verb for _, verb in pairs} & {"delete", "deletecollection", "escalate", "bind", "impersonate"}


def test_secrets_can_be_narrowed_to_names() -> None:
    granted = rules(rendered(*NAMESPACED), "Role", "queues-test-sharded-queue-operator")
    (secrets,) = [rule for rule in granted if rule["resources"] == ["secrets"]]

    assert secrets["resourceNames"] == ["redis-auth"]


def test_the_lease_is_granted_by_name_where_that_is_possible() -> None:
    create, rest = rules(rendered(), "Role", "test-sharded-queue-operator-lease")

    assert create["verbs"] == ["create"]
    assert rest["resourceNames"] == ["test-sharded-queue-operator"]


def test_every_rule_says_what_it_is_for() -> None:
    for template in [file for folder in ("rbac", "console") for file in (CHART / "templates" / folder).iterdir()]:
        lines = template.read_text().splitlines()
        for before, line in pairwise(lines):
            if re.match(r"- apiGroups", line):
                assert before.startswith("# "), f"{template.name}: {line}"


def test_roles_of_users_are_aggregated() -> None:
    objects = of_kind(rendered(), "ClusterRole")
    labels = {label for each in objects for label in each["metadata"]["labels"] if "aggregate" in label}

    assert labels == {f"rbac.authorization.k8s.io/aggregate-to-{role}" for role in ("view", "edit", "admin")}


def test_users_never_write_the_status() -> None:
    for role in of_kind(rendered(), "ClusterRole"):
        if role["metadata"]["name"] != "queues-test-sharded-queue-operator":
            for rule in role["rules"]:
                assert "shardedqueues/status" not in rule["resources"] or rule["verbs"] == ["get", "list", "watch"]


def test_bindings_name_the_account_of_the_operator() -> None:
    for binding in of_kind(rendered(*NAMESPACED), "RoleBinding") + of_kind(rendered(), "ClusterRoleBinding"):
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", NAMESPACE)
        assert subject["name"] == "test-sharded-queue-operator"
