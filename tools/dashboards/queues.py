"""Queues: which tube lags, why, since when, and which worker holds it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.dashboards.panels import (
    QUARTER,
    RATE,
    THIRD,
    Panels,
    Query,
    board,
    choice,
    graph,
    listing,
    moment,
    note,
    number,
    with_rows,
    word,
)

CHOSEN = 'namespace=~"$namespace", queue=~"$queue"'
QUEUE = "namespace, queue"
HANDLER = f"{QUEUE}, handler"
TUBE = f"{HANDLER}, thread, priority"
POD = f"{QUEUE}, pod"
TUBE_NAMED = "{{handler}} {{thread}}/{{priority}}"
LISTED = 20
SIXTH, NARROW = 4, 5

WHY = {
    "failing": "it failed and is tried again",
    "bound": "a worker is busy with it",
    "ready": "it waits for a worker",
    "blocked": "it failed and backs off",
    "quarantined": "its record cannot be read",
    "paused": "it is paused",
    "parked": "threads of the previous layout go first",
}
"""What the state of a thread means for its requests, in words for the tables."""

UNREPORTED = "no worker reports it"

COMMANDS = """\
Metrics list only the tubes that wait longest. Ask for any other thread on the command line:

```sh
sharded-queue threads HANDLER          # the threads that need a look
sharded-queue explain HANDLER THREAD   # why it waits, who holds it
sharded-queue peek --help              # the first requests of a tube
sharded-queue dead --help              # what was given up
kubectl get shq --output wide          # what the operator decided
```
"""


def built() -> Dashboard:
    to = board("Sharded queues", "sharded-queue-queues", "Which tube lags, why, since when, and which worker holds it.")
    to = to.with_variable(choice("namespace", "label_values(sharded_queue_depth, namespace)"))
    to = to.with_variable(choice("queue", 'label_values(sharded_queue_depth{namespace=~"$namespace"}, queue)'))
    rows = {
        "Which tube lags most, why, since when, and who holds it": answer(),
        "Which tubes lag": tubes(),
        "Which queues lag": lagging(),
        "How long requests wait, and calls take": latency(),
        "Why": why(),
        "Which worker holds and does what": who(),
    }
    return with_rows(to, rows)


def of_queue(metric: str) -> str:
    """A gauge of the leading operator: one series a queue, also while an earlier leader's series has not ended yet."""
    return f"max by ({QUEUE}) ({metric}{{{CHOSEN}}})"


def repeated(metric: str, labels: str = HANDLER, more: str = "") -> str:
    """What every worker reports alike: the maximum, never the sum."""
    return f"max by ({labels}) ({metric}{{{CHOSEN}{more}}})"


def rate_of_repeated(metric: str) -> str:
    return f"max by ({HANDLER}) (rate({metric}{{{CHOSEN}}}[{RATE}]))"


def done(metric: str, labels: str = QUEUE) -> str:
    """What the workers did, per second."""
    return f"sum by ({labels}) (rate({metric}{{{CHOSEN}}}[{RATE}]))"


LAG = of_queue("sharded_queue_lag_seconds")
DEPTH = of_queue("sharded_queue_depth")
LANES = of_queue("sharded_queue_lanes")
DESIRED = of_queue("sharded_queue_desired_replicas")
CURRENT = of_queue("sharded_queue_current_replicas")
READY = of_queue("sharded_queue_ready_replicas")
KNOWN = of_queue("sharded_queue_known")

TUBE_LAG = f"topk({LISTED}, {repeated('sharded_queue_tube_lag_seconds', TUBE)})"
WORST = f"topk(1, {repeated('sharded_queue_tube_lag_seconds', TUBE)})"
TUBE_DEPTH = f"topk({LISTED}, {repeated('sharded_queue_tube_depth', TUBE)})"
NAMED_DEPTH = (
    f'label_replace(label_join({TUBE_DEPTH}, "tube", "/", "thread", "priority"), "tube", "all others", "tube", "/")'
)
LISTED_DEPTH = repeated("sharded_queue_tube_depth", TUBE, ', thread!=""') + f" and {TUBE_LAG}"
STAMPS = f"sharded_queue_tube_lag_seconds{{{CHOSEN}}}"
SINCE = f"max by ({TUBE}) (timestamp({STAMPS}) - {STAMPS}) * 1000"
"""
In milliseconds. Lag is read after the scrape began, so each worker's answer is too early by what it took: the latest is
the nearest.
"""

REGISTERED = rate_of_repeated("sharded_queue_handler_registered_total")
SETTLED = rate_of_repeated("sharded_queue_handler_settled_total")
BUSY = rate_of_repeated("sharded_queue_handler_busy_seconds_total")
DEAD = rate_of_repeated("sharded_queue_handler_dead_total")


def newest_state() -> str:
    """The newest of the workers' reports about a tube: why it lags, and which worker holds it."""
    reported_at = f"max by ({TUBE}, state, worker) (timestamp(sharded_queue_tube_state{{{CHOSEN}}}))"
    newest = f"topk by ({TUBE}) (1, {reported_at})"
    for state, words in WHY.items():
        newest = f'label_replace({newest}, "why", "{words}", "state", "{state}")'
    return f'max without (state) (label_replace({newest}, "worker", "nobody", "worker", ""))'


STATE = newest_state()


def of_the_worst(expr: str) -> str:
    return f"{expr} and on ({TUBE}) {WORST}"


def quantile(share: float, metric: str, labels: str = "") -> str:
    """
    Of a histogram of all workers, by *labels*. While nothing is counted it is NaN, which Grafana would show as a value:
    the comparison leaves it out.
    """
    buckets = f"sum by ({labels}{', ' if labels else ''}le) (rate({metric}_bucket{{{CHOSEN}}}[{RATE}]))"
    return f"histogram_quantile({share}, {buckets}) >= 0"


def answer() -> Panels:
    description = "Age of the oldest request in all chosen queues."
    yield number("Longest wait", description, f"max({LAG})", unit="s", alarm=600, span=SIXTH)
    description = "Handler, thread and priority of the oldest request."
    yield word(
        "Which tube?",
        description,
        Query(WORST, "{{handler}} thread {{thread}}, priority {{priority}}"),
        span=QUARTER,
        none=UNREPORTED,
    )
    description = (
        "Only one worker at a time can work on a thread. If a thread lags while a worker is busy with it, its handler "
        "is slow, or it has more requests than other threads."
    )
    yield word("Why?", description, Query(of_the_worst(STATE), "{{why}}"), span=NARROW, none=UNREPORTED)
    description = "When the oldest request of that tube was registered."
    yield moment("Since when?", description, of_the_worst(SINCE), span=SIXTH, none=UNREPORTED)
    description = "The worker that holds the thread of that tube now."
    yield word("Who holds it?", description, Query(of_the_worst(STATE), "{{worker}}"), span=NARROW, none=UNREPORTED)


def lagging() -> Panels:
    description = (
        "Sorted by lag, the age of the oldest request. Known is 0 while Redis does not answer: the other columns then "
        "show the last known values."
    )
    columns = [Query(LAG, "Lag", "s"), Query(DEPTH, "Depth"), Query(LANES, "Lanes"), Query(DESIRED, "Desired")]
    columns += [Query(READY, "Ready"), Query(KNOWN, "Known")]
    yield listing("Which queue lags?", description, {"namespace": "Namespace", "queue": "Queue"}, *columns, height=6)
    yield graph("Lag", "Age of the oldest request.", Query(LAG, "{{namespace}}/{{queue}}"), unit="s")
    yield graph("Depth", "Requests that are not handled yet.", Query(DEPTH, "{{namespace}}/{{queue}}"))


def tubes() -> Panels:
    description = f"The {LISTED} tubes whose oldest requests have waited longest."
    names = {name: name.capitalize() for name in TUBE.split(", ")}
    names |= {"why": "Why", "worker": "Held by"}
    columns = [Query(TUBE_LAG, "Lag", "s"), Query(f"{SINCE} and {TUBE_LAG}", "Since", "dateTimeAsIso")]
    columns += [Query(LISTED_DEPTH, "Depth"), Query(f"{STATE} and on ({TUBE}) {TUBE_LAG}", "")]
    yield listing("Which tubes wait longest?", description, names, *columns)
    description = "While a line climbs without a break, the first request of that tube does not move."
    yield graph("Lag of the tubes that wait longest", description, Query(TUBE_LAG, TUBE_NAMED), unit="s")
    description = "All others: the sum of the tubes that the handler does not list."
    yield graph("Depth of these, and of the rest", description, Query(NAMED_DEPTH, "{{handler}} {{tube}}"))


def latency() -> Panels:
    wait, call = "sharded_queue_worker_wait_seconds", "sharded_queue_worker_handling_seconds"
    description = (
        "From registration, or from the due time of a delayed request, to the first try. The scale ends at 10 min."
    )
    yield number("Half of the requests wait at most", description, quantile(0.5, wait), unit="s")
    yield number("99 of 100 requests wait at most", description, quantile(0.99, wait), unit="s")
    description = "One call handles a batch. Calls that raised count too."
    yield number("Half of the calls take at most", description, quantile(0.5, call), unit="s")
    yield number("99 of 100 calls take at most", description, quantile(0.99, call), unit="s")
    yield graph("Wait before the first try", by_handler("requests wait"), *quantiles(wait), unit="s")
    yield graph("Time per call of a handler", by_handler("calls take"), *quantiles(call), unit="s")


def by_handler(verb: str) -> str:
    return f"By handler. p50: half of the {verb} no longer. p99: 99 of 100 {verb} no longer."


def quantiles(metric: str) -> list[Query]:
    return [Query(quantile(share, metric, HANDLER), f"{{{{handler}}}} p{share * 100:g}") for share in (0.99, 0.5)]


def why() -> Panels:
    yield from why_workers()
    yield from why_handlers()


def why_workers() -> Panels:
    description = (
        "Ready: waits for a worker. Bound: held by a worker. Blocked: backs off after a failure, or is paused. "
        "Parked: waits until threads of the previous layout are drained."
    )
    states = Query(repeated("sharded_queue_handler_threads", f"{HANDLER}, state"), "{{handler}} {{state}}")
    yield graph("Threads by state", description, states, span=THIRD, stacked=True)
    description = (
        "Lanes above desired: more workers would help, but a limit of the ShardedQueue forbids them. "
        "Desired above ready: pods do not become ready."
    )
    lanes, desired = Query(LANES, "{{queue}} lanes"), Query(DESIRED, "{{queue}} desired")
    current, ready = Query(CURRENT, "{{queue}} current"), Query(READY, "{{queue}} ready")
    yield graph("Workers", description, lanes, desired, current, ready, span=THIRD)
    description = "0: the operator or a worker gets no answer from Redis. Until it does, nothing is scaled down."
    up = Query(f"min by ({POD}) (sharded_queue_worker_redis_up{{{CHOSEN}}})", "{{pod}}")
    yield graph("Does Redis answer?", description, Query(KNOWN, "{{queue}} known to the operator"), up, span=THIRD)


def why_handlers() -> Panels:
    come, go = Query(REGISTERED, "{{handler}} registered"), Query(SETTLED, "{{handler}} settled")
    description = "Requests per second. While more are registered than settled, depth grows."
    yield graph("Registered and settled", description, come, go, unit="reqps", span=THIRD)
    description = "Mean time in the handler per settled request. If it grows, look at what the handler calls."
    yield graph("Time per request", description, Query(f"{BUSY} / {SETTLED}", "{{handler}}"), unit="s", span=THIRD)
    description = "Per second: calls of a handler that raised, and requests that were given up."
    failures = Query(done("sharded_queue_worker_failures_total"), "{{queue}} failures")
    dead = Query(DEAD, "{{handler}} dead letters")
    yield graph("Failures and dead letters", description, failures, dead, unit="cps", span=THIRD)


def who() -> Panels:
    held = Query(f"sum by ({POD}) (sharded_queue_worker_bound_threads{{{CHOSEN}}})", "{{pod}}")
    yield graph("Threads held", "Threads that each worker holds now.", held, stacked=True)
    yield note("Who holds this one thread?", COMMANDS)
    handled = Query(done("sharded_queue_worker_handled_total", POD), "{{pod}} requests")
    batches = Query(done("sharded_queue_worker_batches_total", POD), "{{pod}} batches")
    yield graph(
        "Handled",
        "Requests and batches that each worker handled, per second.",
        handled,
        batches,
        unit="cps",
        span=THIRD,
    )
    busy = Query(done("sharded_queue_worker_busy_seconds_total", POD), "{{pod}}")
    yield graph(
        "Busy",
        "Handler time per second, of settled batches: about how many lanes of a worker were busy.",
        busy,
        span=THIRD,
    )
    bound = Query(done("sharded_queue_worker_binds_total", POD), "{{pod}} bound")
    lost = Query(done("sharded_queue_worker_lost_leases_total", POD), "{{pod}} lost")
    freed = Query(done("sharded_queue_freed_threads_total"), "{{queue}} freed")
    description = (
        "Per second. Lost: the worker renewed its lease too late. Freed: the operator released the threads of a pod "
        "that has ended."
    )
    yield graph("Threads bound, lost and freed", description, bound, lost, freed, unit="cps", span=THIRD)
