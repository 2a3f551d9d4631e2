"""A release that cannot start, on a real cluster: its resource is not ready, though all workers of the old one are."""

import json

import pytest

from tests.e2e.conftest import Chain, condition
from tests.harness.requirements import kstatus_of
from tools.operator_process import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TYPO = "localhost/notificatoins:dev"


@pytest.mark.parametrize("workers", [1, 3])
def test_a_typo_in_the_image_is_not_ready(chain: Chain, operator: Operator, workers: int) -> None:
    """A rollout leaves all of one to three workers until new ones are ready: it was `Ready`, `AllReady`, at once."""
    chain.apply(seconds_per_request=1, scaling={"minReplicas": workers, "maxReplicas": 4}, env={})
    right = chain.queue(lambda it: condition(it, "WorkersAvailable")["reason"] == "AllReady", seconds=60)
    assert (condition(right, "Ready")["status"], *kstatus_of(right)) == ("True", "Current")

    set_image(chain, TYPO)
    seen = chain.queue(lambda it: it["status"]["observedGeneration"] == 2)
    assert (condition(seen, "Ready")["status"], seen["status"]["readyReplicas"]) == ("False", workers)
    told = chain.queue(lambda it: condition(it, "Ready")["reason"] == "ImagePullBackOff", seconds=60)
    assert (told["status"]["readyReplicas"], *kstatus_of(told)) == (workers, "InProgress")

    set_image(chain, right["spec"]["worker"]["image"])
    chain.queue(lambda it: condition(it, "WorkersAvailable")["reason"] == "AllReady", seconds=60)


def set_image(chain: Chain, image: str) -> None:
    patch = {"spec": {"worker": {"image": image}}}
    chain.kubectl("patch", "shq", "notifications", "--type=merge", f"--patch={json.dumps(patch)}")
