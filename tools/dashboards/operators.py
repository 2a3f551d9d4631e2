"""The operator: does one lead, does it read Redis, does it write more than it must, and what did it change?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from tools.dashboards.panels import RATE, THIRD, Panels, Query, board, choice, graph, number, with_rows

OPERATOR = 'namespace=~"$operator"'
QUEUE = "max by (namespace, queue)"
LANES = "Lanes: what the requests could use. Desired: what the operator asked for. Ready: pods that are ready."


def built() -> Dashboard:
    to = board(
        "Sharded queues: operator",
        "sharded-queue-operator",
        "Does an operator lead, read Redis and write? What did it change?",
    )
    chosen = choice("operator", "label_values(sharded_queue_operator_leading, namespace)").label("Operator in")
    rows = {"At a glance": at_a_glance(), "Its work": work(), "What it decided": decisions()}
    return with_rows(to.with_variable(chosen), rows)


def rate(metric: str, labels: str) -> str:
    return f"sum by ({labels}) (rate({metric}{{{OPERATOR}}}[{RATE}]))"


def durations(title: str, description: str, histogram: str) -> Builder[Panel]:
    buckets = rate(f"sharded_queue_operator_{histogram}_bucket", "le")
    quantiles = [Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)]
    return graph(title, description, *quantiles, unit="s", span=THIRD)


def without(metric: str) -> str:
    """The number of queues whose gauge is 0."""
    return f"count({QUEUE} ({metric}) == 0) or vector(0)"


def at_a_glance() -> Panels:
    leading = f"sum(sharded_queue_operator_leading{{{OPERATOR}}})"
    yield number("Leading operators", "Exactly one, however many replicas run.", leading, least=1, alarm=2)
    yield number("Queues", "ShardedQueues that the operator serves.", f"count({QUEUE} (sharded_queue_accepted))")
    yield number("Unknown queues", "Queues whose Redis does not answer.", without("sharded_queue_known"), alarm=1)
    yield number("Refused queues", "Queues with an invalid spec.", without("sharded_queue_accepted"), alarm=1)


def work() -> Panels:
    polls = Query(rate("sharded_queue_operator_polls_total", "outcome"), "{{outcome}}")
    yield graph(
        "Reads of queues", "Per second. Known: Redis answered. Unknown: it did not.", polls, unit="ops", span=THIRD
    )
    yield durations("Time per read", "Time to read all queues on one Redis that answered.", "poll_seconds")
    leaders = Query(f"max by (pod) (sharded_queue_operator_leading{{{OPERATOR}}})", "{{pod}}")
    yield graph("Which pod leads?", "1: leads. A step is a change of leader.", leaders, span=THIRD)
    depth = Query(f"sum by (pod) (sharded_queue_operator_workqueue_depth{{{OPERATOR}}})", "{{pod}}")
    yield graph("Queues that wait", "To be reconciled. Above 0 for long, it does not keep up.", depth, span=THIRD)
    yield durations("Wait for a turn", "From the news of a queue to its reconciliation.", "workqueue_wait_seconds")
    yield durations("Time per reconciliation", "Most of it waits for the API server.", "reconcile_seconds")
    calls = Query(rate("sharded_queue_operator_api_calls_total", "verb, status"), "{{verb}} {{status}}")
    yield graph(
        "Calls of the API server",
        "Per second. While nothing changes, the only writes renew the Lease.",
        calls,
        unit="ops",
    )
    failures = Query(rate("sharded_queue_operator_failures_total", "pod"), "failures {{pod}}")
    retries = Query(rate("sharded_queue_operator_workqueue_retries_total", "pod"), "retries {{pod}}")
    about = "Per second. Each failure is retried after a pause, and so is what the API server refuses."
    yield graph("Failures and retries", about, failures, retries, unit="cps")


def decisions() -> Panels:
    changes = f"sum by (direction) (rate(sharded_queue_scalings_total[{RATE}]))"
    yield graph(
        "Changes of the number of workers", "Per second, by direction.", Query(changes, "{{direction}}"), unit="cps"
    )
    lanes, desired, ready = (
        Query(f"sum({QUEUE} (sharded_queue_{name}))", name.partition("_")[0])
        for name in ("lanes", "desired_replicas", "ready_replicas")
    )
    yield graph("Workers of all queues", LANES, lanes, desired, ready)
    depth = Query(f"sum({QUEUE} (sharded_queue_depth))", "depth")
    yield graph("Requests of all queues", "Requests that are not handled yet.", depth)
    lag = Query(f"topk(10, {QUEUE} (sharded_queue_lag_seconds))", "{{namespace}}/{{queue}}")
    yield graph("Queues that lag most", "The ten queues whose oldest requests have waited longest.", lag, unit="s")
