"""Another manager of the number of workers, on a real cluster."""

import json

import pytest

from tests.e2e.conftest import Chain, condition
from tools.operator_process import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def test_who_applies_the_number_is_named_at_once_and_never_undone(chain: Chain, operator: Operator) -> None:
    """A tool that applies it every five minutes lost its workers each time, and nobody was told."""
    chain.apply(seconds_per_request=1, scaling={"minReplicas": 1, "maxReplicas": 1}, env={})
    chain.queue(lambda it: condition(it, "Contested")["reason"] == "NobodyElseScales")
    chain.deployment(lambda it: it["status"].get("readyReplicas") == 1, seconds=60)
    apply_as_a_git_tool(chain, replicas=2)

    contested = chain.queue(lambda it: condition(it, "Contested")["reason"] == "ReplicasApplied")
    assert condition(contested, "Contested")["message"].startswith("a-git-tool applies spec.replicas")
    assert (condition(contested, "Ready")["status"], condition(contested, "Ready")["reason"]) == ("False", "Contested")
    chain.deployment(lambda it: it["status"].get("readyReplicas") == 2, seconds=60)
    operator.wait_for_polls()
    assert chain.deployment(lambda it: True)["spec"]["replicas"] == 2
    assert not chain.events("ScaledDown")

    apply_as_a_git_tool(chain)
    chain.queue(lambda it: condition(it, "Contested")["reason"] == "NobodyElseScales")
    chain.deployment(lambda it: it["spec"]["replicas"] == 1, seconds=60)


def apply_as_a_git_tool(chain: Chain, **spec: int) -> None:
    """It owns what it applies, and gives up what it applies no more."""
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "notifications-worker"}}
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=a-git-tool", "--filename=-")
    chain.kubectl(*apply, stdin=json.dumps(deployment | {"spec": spec}))
