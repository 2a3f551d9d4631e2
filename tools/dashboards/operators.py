"""The operator: does one lead, does it see, does it write more than it must, and what did it change?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.dashboards.panels import RATE, THIRD, Panels, Query, board, choice, graph, number, with_rows

OPERATOR = 'namespace=~"$operator"'
POLLS = f"sum by (le) (rate(sharded_queue_operator_poll_seconds_bucket{{{OPERATOR}}}[{RATE}]))"
QUEUE = "max by (namespace, queue)"


def built() -> Dashboard:
    to = board("Sharded queues: operator", "sharded-queue-operator", "Does it lead, see, and write; what it changed.")
    chosen = choice("operator", "label_values(sharded_queue_operator_leading, namespace)").label("Operator in")
    rows = {"At a glance": at_a_glance(), "Its work": work(), "What it decided": decisions()}
    return with_rows(to.with_variable(chosen), rows)


def rate(metric: str, labels: str) -> str:
    return f"sum by ({labels}) (rate({metric}{{{OPERATOR}}}[{RATE}]))"


def without(metric: str) -> str:
    """Queues of which a gauge says no."""
    return f"count({QUEUE} ({metric}) == 0) or vector(0)"


def at_a_glance() -> Panels:
    leading = f"sum(sharded_queue_operator_leading{{{OPERATOR}}})"
    yield number("Operators that lead", "One, of however many there are.", leading, least=1, alarm=2)
    yield number("Queues", "That are served.", f"count({QUEUE} (sharded_queue_accepted))")
    yield number("Queues unknown", "For which Redis does not answer.", without("sharded_queue_known"), alarm=1)
    yield number("Queues refused", "Whose spec makes no sense.", without("sharded_queue_accepted"), alarm=1)


def work() -> Panels:
    polls = Query(rate("sharded_queue_operator_polls_total", "outcome"), "{{outcome}}")
    yield graph("Queues read", "A second, by whether Redis answered.", polls, unit="ops", span=THIRD)
    quantiles = [Query(f"histogram_quantile({q}, {POLLS})", f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)]
    yield graph(
        "Time of one read", "Of one Redis that answered, for all queues on it.", *quantiles, unit="s", span=THIRD
    )
    leaders = Query(f"max by (pod) (sharded_queue_operator_leading{{{OPERATOR}}})", "{{pod}}")
    yield graph("Who leads?", "A step is a new leader.", leaders, span=THIRD)
    calls = Query(rate("sharded_queue_operator_api_calls_total", "verb, status"), "{{verb}} {{status}}")
    yield graph("Calls of the API server", "While nothing changes, none but of the Lease write.", calls, unit="ops")
    failures = Query(rate("sharded_queue_operator_failures_total", "pod"), "{{pod}}")
    yield graph("Failures", "Reconciliations that failed and are tried again, a second.", failures, unit="cps")


def decisions() -> Panels:
    changes = f"sum by (direction) (rate(sharded_queue_scalings_total[{RATE}]))"
    yield graph("Changes of the number of workers", "A second.", Query(changes, "{{direction}}"), unit="cps")
    lanes, desired, ready = (
        Query(f"sum({QUEUE} (sharded_queue_{name}))", name.partition("_")[0])
        for name in ("lanes", "desired_replicas", "ready_replicas")
    )
    yield graph("Workers of all queues", "Lanes are what the requests could use.", lanes, desired, ready)
    depth = Query(f"sum({QUEUE} (sharded_queue_depth))", "depth")
    yield graph("Requests of all queues", "Not handled yet.", depth)
    lag = Query(f"topk(10, {QUEUE} (sharded_queue_lag_seconds))", "{{namespace}}/{{queue}}")
    yield graph("Queues that lag most", "Ten of them.", lag, unit="s")
