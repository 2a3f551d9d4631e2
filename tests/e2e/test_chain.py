"""From a resource and requests in Redis to pods that handle them, on a real cluster."""

from collections.abc import Set
from math import ceil, sqrt
from typing import Any

import pytest

from sharded_queue.state import Hold
from tests.e2e.conftest import Chain, condition, kill_processes_of, pod_of
from tools.operator_process import Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

THREADS, EACH = 30, 33
"""As many requests as one call of `register` may have."""

SECONDS_PER_REQUEST = 0.06
"""What the resource says of a request; it takes a third of that."""

SCALING = {"maxReplicas": 8, "threadsPerReplica": 1, "targetDrainSeconds": 12, "scaleDownStabilizationSeconds": 12}
ENV = {"QUEUE_WORKER_BATCH_SIZE": "16", "QUEUE_COORDINATOR_LEASE": "4"}


def notifications(held: Set[int] = frozenset()) -> list[Any]:
    """In the middle of each thread of *held*, one request is at work until the test lets it go."""
    from notifications import NotifyRequest

    middle = {EACH // 2 * THREADS + thread for thread in held}
    numbers = [-number if number in middle else number for number in range(THREADS * EACH)]
    return [NotifyRequest(user_id=abs(number) % THREADS, number=number) for number in numbers]


def test_requests_become_pods_and_pods_go_when_all_is_handled(chain: Chain, operator: Operator) -> None:
    """30 threads × (0.06 s × 33 + 0.01 s) are 59.7 s of work, for √59.7 lanes: 8 workers, at once."""
    chain.apply(seconds_per_request=SECONDS_PER_REQUEST, scaling=SCALING, env=ENV)
    chain.deployment(lambda it: it["spec"]["replicas"] == 0)
    chain.register(notifications())
    lanes = sqrt(THREADS * (SECONDS_PER_REQUEST * EACH + 0.01))

    scaled = chain.deployment(lambda it: it["spec"]["replicas"])
    assert scaled["spec"]["replicas"] == ceil(lanes)
    chain.wait_until_drained(seconds=90)
    assert chain.handled() == chain.registered

    chain.deployment(lambda it: it["spec"]["replicas"] == 0 and not it["status"].get("replicas"), seconds=60)
    chain.kubectl("delete", "shq", "notifications", "--timeout=60s")
    until(lambda: not chain.remains(), "nothing remains of the deleted resource", 60)


def test_replicas_stay_while_redis_is_away_and_work_goes_on_afterwards(chain: Chain, operator: Operator) -> None:
    """Each of the six pods has a thread that it cannot finish until all are there; then the rest takes 3 s."""
    held = set(range(6))
    chain.apply(seconds_per_request=SECONDS_PER_REQUEST, scaling=SCALING | {"maxReplicas": len(held)}, env=ENV)
    chain.deployment(lambda it: it["spec"]["replicas"] == 0)
    chain.register(notifications(held))
    chain.deployment(lambda it: it["status"].get("readyReplicas") == 6, seconds=60)
    until(lambda: set(chain.holds()) == set(map(str, held)), "each pod is in the middle of a thread", 60)

    chain.open_threads(*held)
    chain.redis.stop()
    queue = chain.queue(lambda it: condition(it, "QueueKnown")["status"] != "True")
    assert condition(queue, "QueueKnown")["reason"] == "RedisUnreachable"
    operator.wait_for_polls(1, outcome="unknown")
    assert chain.deployment(lambda it: True)["spec"]["replicas"] == 6
    until(lambda: chain.events("RedisUnreachable"), "an event says that Redis is away")

    chain.redis.start()
    chain.queue(lambda it: condition(it, "QueueKnown")["status"] == "True")
    chain.wait_until_drained(seconds=90)
    assert_in_order_with_replays_only(chain)


def test_threads_of_a_killed_pod_go_on_elsewhere_when_its_lease_ends(chain: Chain, operator: Operator) -> None:
    """Others poll once a minute: nothing but the end of the lease brings them to the thread of the killed pod."""
    env = ENV | {"QUEUE_COORDINATOR_DELAY": "60"}
    chain.apply(seconds_per_request=SECONDS_PER_REQUEST, scaling=SCALING | {"minReplicas": 6}, env=env)
    chain.deployment(lambda it: it["status"].get("readyReplicas") == 6, seconds=60)
    chain.register(notifications({0}))
    hold = until(lambda: held_in_the_middle(chain), "a worker is in the middle of thread 0")

    (pod,) = [pod for pod in chain.pods() if pod["metadata"]["name"] == pod_of(hold.owner)]
    kill_processes_of(pod)
    until(lambda: is_held_anew(chain, hold), "the thread goes on elsewhere", 30)
    chain.open_threads(0)
    chain.wait_until_drained(seconds=90)
    assert_in_order_with_replays_only(chain)


def held_in_the_middle(chain: Chain) -> Hold | None:
    """The hold of thread 0 once all before its middle is handled, but for what is in the same batch."""
    begun = len(chain.handled()["0"]) > EACH // 2 - int(ENV["QUEUE_WORKER_BATCH_SIZE"])
    return chain.holds().get("0") if begun else None


def is_held_anew(chain: Chain, before: Hold) -> bool:
    now = chain.holds().get(before.thread)
    return now is not None and now.fence > before.fence


def assert_in_order_with_replays_only(chain: Chain) -> None:
    """First completions are in the order of registration; what comes twice is a replay of one batch."""
    handled = chain.handled()
    for thread, registered in chain.registered.items():
        assert list(dict.fromkeys(handled[thread])) == registered, f"thread {thread}"
        assert len(handled[thread]) - len(registered) <= int(ENV["QUEUE_WORKER_BATCH_SIZE"]), f"thread {thread}"
