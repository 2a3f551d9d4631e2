"""Queues: which tube lags, why, since when, and who holds it."""

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
    "bound": "a worker is busy with it",
    "ready": "it lacks a worker",
    "blocked": "it failed and backs off",
    "paused": "it is paused",
    "parked": "threads of the layout before come first",
}
"""What the state of a thread means for its requests."""

UNTOLD = "no worker tells"

COMMANDS = """\
Metrics name the tubes that wait longest; of any other thread, this tells the same:

```sh
sharded-queue tubes                    # the tubes that wait longest
sharded-queue explain HANDLER THREAD   # why it moves or not; who has it
sharded-queue peek --help              # the first requests of a tube
sharded-queue dead --help              # what was given up
kubectl get shq --output wide          # what the operator decided
```
"""


def built() -> Dashboard:
    to = board("Sharded queues", "sharded-queue-queues", "Which tube lags, why, since when, and who holds it.")
    to = to.with_variable(choice("namespace", "label_values(sharded_queue_depth, namespace)"))
    to = to.with_variable(choice("queue", 'label_values(sharded_queue_depth{namespace=~"$namespace"}, queue)'))
    rows = {
        "Which tube lags most, why, since when, and who holds it": answer(),
        "All that lag": tubes(),
        "Which queue": lagging(),
        "Why": why(),
        "Who holds what": who(),
    }
    return with_rows(to, rows)


def of_queue(metric: str) -> str:
    """What the leading operator says of a queue; an earlier leader's last word counts no more than its successor's."""
    return f"max by ({QUEUE}) ({metric}{{{CHOSEN}}})"


def repeated(metric: str, labels: str = HANDLER, more: str = "") -> str:
    """What every worker says alike: the maximum, never the sum."""
    return f"max by ({labels}) ({metric}{{{CHOSEN}{more}}})"


def rate_of_repeated(metric: str) -> str:
    return f"max by ({HANDLER}) (rate({metric}{{{CHOSEN}}}[{RATE}]))"


def done(metric: str, labels: str = QUEUE) -> str:
    """What each worker did, a second."""
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
TUBE_DEPTH = repeated("sharded_queue_tube_depth", TUBE)
LISTED_DEPTH = repeated("sharded_queue_tube_depth", TUBE, ', thread!=""') + f" and {TUBE_LAG}"
STAMPS = f"sharded_queue_tube_lag_seconds{{{CHOSEN}}}"
SINCE = f"min by ({TUBE}) (timestamp({STAMPS}) - {STAMPS}) * 1000"

REGISTERED = rate_of_repeated("sharded_queue_handler_registered_total")
SETTLED = rate_of_repeated("sharded_queue_handler_settled_total")
BUSY = rate_of_repeated("sharded_queue_handler_busy_seconds_total")
DEAD = rate_of_repeated("sharded_queue_handler_dead_total")


def newest_state() -> str:
    """Of what workers tell of a tube, scraped at different moments, the newest: why it lags, and who holds it."""
    told = f"max by ({TUBE}, state, worker) (timestamp(sharded_queue_tube_state{{{CHOSEN}}}))"
    said = f"topk by ({TUBE}) (1, {told})"
    for state, words in WHY.items():
        said = f'label_replace({said}, "why", "{words}", "state", "{state}")'
    return f'max without (state) (label_replace({said}, "worker", "nobody", "worker", ""))'


STATE = newest_state()


def of_the_worst(expr: str) -> str:
    return f"{expr} and on ({TUBE}) {WORST}"


def answer() -> Panels:
    says = "Age of the oldest request of all."
    yield number("Longest wait", says, f"max({LAG})", unit="s", alarm=600, span=SIXTH)
    says = "Handler, thread and priority of that request."
    yield word(
        "Which tube?",
        says,
        Query(WORST, "{{handler}} thread {{thread}}, priority {{priority}}"),
        span=QUARTER,
        none=UNTOLD,
    )
    says = (
        "A thread that a worker is busy with cannot use a second one: its handler is slow, or it has more than others."
    )
    yield word("Why?", says, Query(of_the_worst(STATE), "{{why}}"), span=NARROW, none=UNTOLD)
    says = "When the oldest request of that tube was registered."
    yield moment("Since when?", says, of_the_worst(SINCE), span=SIXTH, none=UNTOLD)
    says = "The worker that has its thread now."
    yield word("Who holds it?", says, Query(of_the_worst(STATE), "{{worker}}"), span=NARROW, none=UNTOLD)


def lagging() -> Panels:
    says = "Sorted by the age of the oldest request. Known is 0 while Redis does not answer: all else is then old."
    columns = [Query(LAG, "Lag", "s"), Query(DEPTH, "Depth"), Query(LANES, "Lanes"), Query(DESIRED, "Desired")]
    columns += [Query(READY, "Ready"), Query(KNOWN, "Known")]
    yield listing("Which queue lags?", says, {"namespace": "Namespace", "queue": "Queue"}, *columns, height=6)
    yield graph("Lag", "Age of the oldest request.", Query(LAG, "{{namespace}}/{{queue}}"), unit="s")
    yield graph("Depth", "Requests that are not handled yet.", Query(DEPTH, "{{namespace}}/{{queue}}"))


def tubes() -> Panels:
    says = "Each handler lists the tubes whose oldest request is the oldest."
    names = {name: name.capitalize() for name in TUBE.split(", ")}
    names |= {"why": "Why", "worker": "Held by"}
    columns = [Query(TUBE_LAG, "Lag", "s"), Query(f"{SINCE} and {TUBE_LAG}", "Since", "dateTimeAsIso")]
    columns += [Query(LISTED_DEPTH, "Depth"), Query(f"{STATE} and on ({TUBE}) {TUBE_LAG}", "")]
    yield listing("Which tubes wait longest?", says, names, *columns)
    says = "A line that climbs without a break is a tube whose first request does not move."
    yield graph("Lag of the tubes that wait longest", says, Query(TUBE_LAG, TUBE_NAMED), unit="s")
    says = "A tube without a thread is the sum of all that are not listed."
    yield graph("Depth of these, and of the rest", says, Query(f"topk({LISTED}, {TUBE_DEPTH})", TUBE_NAMED))


def why() -> Panels:
    yield from why_workers()
    yield from why_handlers()


def why_workers() -> Panels:
    says = "Ready ones lack a worker; bound ones are worked on; blocked ones failed and wait, or are paused."
    states = Query(repeated("sharded_queue_handler_threads", f"{HANDLER}, state"), "{{handler}} {{state}}")
    yield graph("Threads by state", says, states, span=THIRD, stacked=True)
    says = "Lanes above desired: more would help and a bound forbids it. Desired above ready: pods do not come."
    lanes, desired = Query(LANES, "{{queue}} lanes"), Query(DESIRED, "{{queue}} desired")
    current, ready = Query(CURRENT, "{{queue}} current"), Query(READY, "{{queue}} ready")
    yield graph("Workers", says, lanes, desired, current, ready, span=THIRD)
    says = "0: the operator, or a worker, gets no answer, and nothing is scaled down."
    up = Query(f"min by ({POD}) (sharded_queue_worker_redis_up{{{CHOSEN}}})", "{{pod}}")
    yield graph("Does Redis answer?", says, Query(KNOWN, "{{queue}} known to the operator"), up, span=THIRD)


def why_handlers() -> Panels:
    come, go = Query(REGISTERED, "{{handler}} registered"), Query(SETTLED, "{{handler}} settled")
    says = "Requests a second. More registered than settled: depth grows."
    yield graph("Registered and settled", says, come, go, unit="reqps", span=THIRD)
    says = "What handlers spend on one request: if it grew, look at what they call."
    yield graph("Time a request", says, Query(f"{BUSY} / {SETTLED}", "{{handler}}"), unit="s", span=THIRD)
    says = "Calls of a handler that raised, and requests that were given up, a second."
    failures = Query(done("sharded_queue_worker_failures_total"), "{{queue}} failures")
    dead = Query(DEAD, "{{handler}} dead letters")
    yield graph("Failures and dead letters", says, failures, dead, unit="cps", span=THIRD)


def who() -> Panels:
    held = Query(f"sum by ({POD}) (sharded_queue_worker_bound_threads{{{CHOSEN}}})", "{{pod}}")
    yield graph("Threads held", "By worker, now.", held, stacked=True)
    yield note("Who holds this one thread?", COMMANDS)
    handled = Query(done("sharded_queue_worker_handled_total", POD), "{{pod}} requests")
    batches = Query(done("sharded_queue_worker_batches_total", POD), "{{pod}} batches")
    yield graph("Handled", "A second, by worker.", handled, batches, unit="cps", span=THIRD)
    busy = Query(done("sharded_queue_worker_busy_seconds_total", POD), "{{pod}}")
    yield graph("Busy", "Seconds in handlers a second, of settled batches.", busy, span=THIRD)
    bound = Query(done("sharded_queue_worker_binds_total", POD), "{{pod}} bound")
    lost = Query(done("sharded_queue_worker_lost_leases_total", POD), "{{pod}} lost")
    freed = Query(done("sharded_queue_freed_threads_total"), "{{queue}} freed")
    says = "A second. Lost: a worker was too late to renew. Freed: the operator took them from pods that are gone."
    yield graph("Threads bound, lost and freed", says, bound, lost, freed, unit="cps", span=THIRD)
