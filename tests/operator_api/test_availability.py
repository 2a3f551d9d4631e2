"""`Ready` is true only where workers can run: a real quota, an image that is not there, a program that ends at once."""

import pytest

from tests.operator_api.conftest import Queues
from tools.cluster.cluster import Cluster
from tools.operator_process import Operator

LEAST = {"minReplicas": 1, "maxReplicas": 2}
RUNNABLE = "localhost/notifications:dev"


@pytest.fixture(autouse=True, scope="module")
def _images(api_server: Cluster) -> None:
    api_server.load_images()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("image", "modules", "reason"),
    [
        ("localhost/nowhere:dev", ["notifications"], "ImagePullBackOff"),
        (RUNNABLE, ["no_such_module"], "CrashLooping"),
    ],
)
def test_workers_that_cannot_start_are_told_of_and_their_resource_is_not_ready(
    queues: Queues, operator: Operator, image: str, modules: list[str], reason: str
) -> None:
    queues.apply(worker={"image": image, "modules": modules}, scaling=LEAST)

    queues.wait_for_condition("WorkersAvailable", reason)
    queues.wait_for_condition("Ready", reason)
    assert "0 of 1 worker ready" in queues.wait_for_event(reason)
    assert reason in queues.kubectl("get", "shq", "notifications")
    assert operator.total("sharded_queue_workers_available", 'queue="notifications"') == 0


def test_a_quota_that_lets_no_worker_in_is_told_of_and_its_end_too(queues: Queues, operator: Operator) -> None:
    queues.kubectl("create", "quota", "tight", "--hard=pods=0")
    queues.apply(worker={"image": RUNNABLE, "modules": ["notifications"]}, scaling=LEAST)

    queues.wait_for_condition("Ready", "QuotaExceeded")
    queues.kubectl("delete", "quota", "tight")
    queues.wait_for_condition("Ready", "RollingOut")


@pytest.mark.usefixtures("cluster")
def test_a_node_that_has_no_room_is_told_of(queues: Queues, operator: Operator) -> None:
    template = {
        "spec": {"containers": [{"name": "worker", "resources": {"requests": {"cpu": "1000"}}}]},
    }
    queues.apply(worker={"image": RUNNABLE, "modules": ["notifications"], "template": template}, scaling=LEAST)

    queues.wait_for_condition("Ready", "Unschedulable")
