"""
What the dashboards and alerts of the chart say of a real run, by a real Prometheus that scraped it as the chart's
monitors ask for.

The run has what the panels are about: one hot thread among many, two priorities, a request that is tried again until
it goes to the dead letters and one that still waits for that, a paused thread, a pod that is gone and one that froze, a
resource that makes no sense and one whose Redis does not answer; workers that come and go. What must be there when the
run comes to it is held until then, by gates in the handlers: no step races with the work. `make pictures` keeps its
answers, from which the pictures of the dashboards are drawn.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from sharded_queue import Queue, RedisCoordinator, RedisStorage
from sharded_queue.state import Hold
from tests.chart.helm import Manifest, of_kind, rendered
from tests.e2e import orders
from tests.e2e.conftest import EXAMPLE, Chain, held_worker, lose, pod_of, signal_processes_of, worker_of
from tests.e2e.discovery import Discovery
from tests.e2e.orders import Order, OrderHandler
from tests.e2e.prometheus import Prometheus, Result, job_of, require_prometheus
from tools.cluster.cluster import Cluster
from tools.cluster.namespace import fresh_namespace
from tools.cluster.paths import NODE_ADDRESS
from tools.dashboards import boards
from tools.operator_process import Operator, starting, until
from tools.pictures import RECORDED
from tools.pictures.boards import Board, Panel, Target, filled
from tools.pictures.recording import Recording
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

BOARDS = {name: Board(text) for name, text in boards().items()}
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)

RATE_INTERVAL = "4s"
"""Four scrapes, as Grafana has it."""

HOT_THREAD = 7
PARTS, OF_HOT, OF_OTHERS = 6, 60, 10
"""Notifications are registered in so many parts: of the hot thread, which takes 0.1 s each, and of each of the others,
which take 0.02 s."""

TIMESTAMP_TOLERANCE = 0.003
"""Prometheus moves the time of a scrape by up to 2 ms towards its interval, and rounds to 1 ms."""

LEASE_SECONDS = 60.0
"""Of orders: what goes on sooner was freed and did not just expire."""

HELD = ("carla", "dora", "gina", "hans", "ida")
"""Customers with an order that is at work until the run lets it go: each of the five pods has one."""

SCALING = {"threadsPerReplica": 1, "targetDrainSeconds": 5, "scaleDownStabilizationSeconds": 5}


class Shop:
    """One namespace with two queues that work and two that cannot, and what Prometheus knows of them."""

    def __init__(self, chain: Chain, operator: Operator, prometheus: Prometheus) -> None:
        self.chain, self.operator, self.prometheus = chain, operator, prometheus
        self.begin = self.shown = self.end = 0
        """Seconds since 1970: of the run, and of the moment when everything that can be seen is there to be seen."""

        self.registered_at: list[tuple[float, float]] = []
        self.ordered = 0
        self.holder = ""
        self.firing_before: Result = []

    # What the run consists of.

    def conduct(self) -> None:
        self.open()
        self.notify()
        self.firing_before = self.prometheus.now('ALERTS{alertstate="firing"}')
        self.take_orders()
        self.lose_a_pod()
        self.freeze_a_pod()
        self.chain.open(*map(gate, HELD))
        self.pause_a_thread()
        self.fail()
        self.look()
        self.drain()

    def open(self) -> None:
        self.chain.mount()
        for manifest in manifests(self.chain.redis.port):
            self.chain.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(manifest))
        for queue in ("notifications", "orders"):
            self.prometheus.wait_for(f'sharded_queue_known{{queue="{queue}"}}', 1)
        self.prometheus.wait_for('sharded_queue_known{queue="unreachable"}', 0)
        self.prometheus.wait_for('sharded_queue_accepted{queue="refused"}', 0)
        self.begin = int(time.time())

    def notify(self) -> None:
        """
        As they come in: a part after each scrape. The last one of the hot thread is held until the end, and no worker
        leaves before all is counted that it did: what it does in its last second, no scrape may see.
        """
        from notifications import THREADS, NotifyRequest

        self.let_workers_go("=down")
        each = {thread: OF_HOT if thread == HOT_THREAD else OF_OTHERS for thread in range(THREADS)}
        users = [thread for thread, number in each.items() for _ in range(number)]
        last = PARTS * len(users) - 1 - users[::-1].index(HOT_THREAD)
        for part in range(PARTS):
            numbers = range(part * len(users), (part + 1) * len(users))
            signed = [-number if number == last else number for number in numbers]
            before = time.time()
            self.chain.register([NotifyRequest(user, number) for user, number in zip(users, signed, strict=True)])
            self.registered_at.append((before, time.time()))
            self.prometheus.wait_for_scrapes()
        self.prometheus.wait_for('count(up{queue="notifications"} == 1) > bool 1', 1)
        until(lambda: self.chain.state().threads == 1, "the hot thread is left", 60)
        self.prometheus.wait_for_scrapes()
        self.let_workers_go("-")

    def let_workers_go(self, how: str) -> None:
        self.chain.kubectl("annotate", "shq", "notifications", "--overwrite", f"shardedqueue.dev/pause{how}")

    def take_orders(self) -> None:
        """Two customers give up before the others begin; each of the others keeps a pod busy for as long as wanted."""
        express = [Order("ben", 0.1, is_express=True)] * 5
        self.order(Order("anna", 0.2), Order("anna", is_bad=True), *[Order("anna", 0.2)] * 3)
        self.order(*[Order("ben", 0.2)] * 5, *express, *[Order(customer, 0.5, is_held=True) for customer in HELD])
        self.order(*[Order("carla", 0.5)] * 40, *[Order("dora", 0.5)] * 40)

    def lose_a_pod(self) -> None:
        _, pod = self.held_order("gina")
        lose(self.chain.kubectl, [pod])
        self.prometheus.wait_for('sharded_queue_freed_threads_total{queue="orders"} > bool 0', 1)

    def freeze_a_pod(self) -> None:
        """
        While it loses its thread. When it moves again, it is done with its order, and finds that the thread is not its
        own any more.
        """
        hold, pod = self.held_order("carla")
        signal_processes_of(pod, signal.SIGSTOP)
        self.chain.ask(lambda redis: evicted(redis, hold.owner))
        self.chain.open(gate(hold.thread))
        signal_processes_of(pod, signal.SIGCONT)
        self.prometheus.wait_for('sum(sharded_queue_worker_lost_leases_total{queue="orders"}) > bool 0', 1)

    def pause_a_thread(self) -> None:
        self.pause("fritz", True)
        self.order(*[Order("fritz", 0.1)] * 3)

    def fail(self) -> None:
        """One request was given up, and another one will be."""
        self.give_up("anna", dead=1)
        self.prometheus.wait_for('max(sharded_queue_handler_dead_total{queue="orders"})', 1, 60)
        self.order(Order("emil", is_bad=True), Order("emil", 0.1))
        self.prometheus.wait_for('max(sharded_queue_tube_state{thread="emil", state="blocked"})', 1)
        self.prometheus.wait_for('sharded_queue_desired_replicas{queue="notifications"}', 1, 60)

    def give_up(self, customer: str, dead: int) -> None:
        """Let the back-offs of a customer's bad order end, one after another, until there are *dead* dead letters."""

        async def given_up(redis: Redis) -> bool:
            storage = RedisStorage(redis)
            (shard,) = OrderHandler.all_shards()
            (state,) = await storage.observe([shard])
            blocked = f"{storage.keys.base(shard)}:blocked"
            if state.dead < dead and await redis.zscore(blocked, customer) is not None:
                await redis.zincrby(blocked, -orders.BACK_OFF_SECONDS * 1000, customer)
            return state.dead == dead

        until(lambda: self.chain.ask(given_up), f"the bad order of {customer} is a dead letter", 60)

    def look(self) -> None:
        self.prometheus.wait_for_scrapes()
        self.holder = self.chain.holds()[str(HOT_THREAD)].owner.partition("/")[0]
        self.shown = int(time.time())

    def drain(self) -> None:
        """All that is counted is seen before the last workers leave."""
        self.pause("fritz", False)
        self.chain.open_threads(HOT_THREAD)
        self.give_up("emil", dead=2)
        settled = {"notifications": sum(map(len, self.chain.registered.values())), "orders": self.ordered - 2}
        for queue, number in settled.items():
            self.prometheus.wait_for(f'max(sharded_queue_handler_settled_total{{queue="{queue}"}})', number, 60)
            self.prometheus.wait_for(f'sharded_queue_depth{{queue="{queue}"}}', 0, 60)
        for queue in settled:
            self.prometheus.wait_for(f'sharded_queue_current_replicas{{queue="{queue}"}}', 0, 60)
        self.prometheus.wait_for_scrapes()
        self.end = int(time.time()) + 1

    # What happens to orders.

    def order(self, *requests: Order) -> None:
        self.ordered += len(requests)
        self.chain.ask(lambda redis: Queue(RedisStorage(redis)).register(OrderHandler, *requests))

    def pause(self, thread: str, is_paused: bool) -> None:
        (shard,) = OrderHandler.all_shards()
        self.chain.ask(lambda redis: RedisStorage(redis).pause(shard, thread, is_paused))

    def held_order(self, customer: str) -> tuple[Hold, Manifest]:
        """What holds a customer's order, and its pod, when all pods are busy with one."""

        def found() -> tuple[Hold, Manifest] | None:
            (state,) = self.chain.ask(lambda redis: RedisStorage(redis).observe(OrderHandler.all_shards()))
            holds = {hold.thread: hold for hold in state.held if hold.busy_seconds}
            pods = {pod["metadata"]["name"]: pod for pod in self.chain.pods()}
            if set(holds) != set(HELD) or not {pod_of(hold.owner) for hold in holds.values()} <= set(pods):
                return None
            return holds[customer], pods[pod_of(holds[customer].owner)]

        pair: tuple[Hold, Manifest] = until(found, "each pod is busy with an order", 60)
        return pair

    # What is asked.

    @property
    def seconds(self) -> str:
        return f"{self.end - self.begin + 5}s"

    @property
    def chosen(self) -> dict[str, str]:
        """What Grafana puts in the place of our variables when a reader takes all that the lists offer."""
        offered = {name: "|".join(self.offered(query)) for board in BOARDS.values() for name, query in lists(board)}
        return {name: f"({values})" for name, values in offered.items()}

    def offered(self, query: str) -> list[str]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found
        return self.prometheus.values(filled(found[1], {"namespace": self.chain.namespace}, RATE_INTERVAL), found[2])

    def asked(self, target: Target) -> str:
        return filled(target.expr, self.chosen, RATE_INTERVAL)

    def shown_by(self, title: str) -> Result:
        """What a panel shows at the moment to look."""
        (panel,) = [panel for board in BOARDS.values() for panel in board.panels if panel.title == title]
        return [each for target in panel.targets for each in self.prometheus.at(self.asked(target), self.shown)]

    def scrape_seconds(self, queue: str) -> float:
        """Of the quickest answer of a worker at the moment to look."""
        (took,) = self.prometheus.at(f'min(scrape_duration_seconds{{queue="{queue}"}})', self.shown)
        return float(took["value"][1])

    def recorded(self) -> Recording:
        recording = Recording(self.begin, self.shown, 1)
        for target in (target for board in BOARDS.values() for target in board.targets):
            question = self.asked(target)
            now = target.is_instant
            answer = (
                self.prometheus.at(question, self.shown)
                if now
                else self.prometheus.over(question, self.begin, self.shown)
            )
            recording.keep(target, answer)
        return recording


async def evicted(redis: Redis, owner: str) -> None:
    coordinator = RedisCoordinator(redis)
    coordinator.attach(RedisStorage(redis))
    (shard,) = OrderHandler.all_shards()
    assert await coordinator.evict(shard, [owner.partition("/")[0]])


def gate(customer: str) -> str:
    return f"orders:{customer}"


def lists(board: Board) -> Any:
    return board.lists.items()


def manifests(redis_port: int) -> Iterator[Manifest]:
    """The example's queue, one of our own handler, one whose spec makes no sense, and one without a Redis."""
    redis = {"addresses": [f"{NODE_ADDRESS}:{redis_port}"]}
    example = yaml.safe_load((EXAMPLE / "shardedqueue.yaml").read_text())["spec"]
    handlers = [{"name": "notifications.NotifyHandler", "microsecondsPerRequest": 20_000}]
    yield queue(
        "notifications",
        example
        | {
            "redis": redis,
            "handlers": handlers,
            "worker": held_worker(QUEUE_WORKER_BATCH_SIZE=16),
            "scaling": SCALING | {"maxReplicas": 6},
        },
    )
    handlers = [{"name": OrderHandler.name, "microsecondsPerRequest": 500_000}]
    worker = worker_of("orders", QUEUE_COORDINATOR_LEASE=LEASE_SECONDS, QUEUE_WORKER_BATCH_SIZE=2, QUEUE_WORKER_TURN=1)
    yield queue(
        "orders",
        {"redis": redis, "handlers": handlers, "worker": worker, "scaling": SCALING | {"maxReplicas": len(HELD)}},
    )

    impossible = worker | {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}
    yield queue("refused", {"redis": redis, "handlers": [{"name": "refused.Handler"}], "worker": impossible})
    nowhere = {"addresses": ["127.0.0.1:1"]}
    yield queue("unreachable", {"redis": nowhere, "handlers": [{"name": "unreachable.Handler"}], "worker": worker})


def queue(name: str, spec: Manifest) -> Manifest:
    kind = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


def monitoring(namespace: str) -> list[Manifest]:
    """The chart's objects for a release in this namespace that serves it alone."""
    monitors = [
        f"monitoring.{name}Monitor.{value}" for name in ("pod", "service") for value in ("enabled=true", "interval=1s")
    ]
    sets = [f"watchNamespaces={{{namespace}}}", "monitoring.rules.enabled=true", *monitors]
    return rendered("--namespace", namespace, *(word for each in sets for word in ("--set", each)))


def served(objects: list[Manifest], port: int) -> Iterator[Manifest]:
    """The chart's Service of the operator, and behind it the process that takes the place of its pod."""
    (service,) = of_kind(objects, "Service")
    del service["spec"]["selector"]
    name = service["metadata"]["name"]
    yield service
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [NODE_ADDRESS], "targetRef": {"kind": "Pod", "name": name}}],
    }


@pytest.fixture(scope="module")
def shop(cluster: Cluster, images: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The run, once for all tests: they ask what is known of it afterwards."""
    require_prometheus()
    if cluster.node is None:
        pytest.skip("pods of a cluster elsewhere cannot reach a Redis on this machine")
    cluster.kubectl("apply", "--filename", str(EXAMPLE.parents[1] / "crds"))
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        namespace = stack.enter_context(fresh_namespace(cluster, "shop"))
        redis = RedisServer(folder / "redis", **{"bind": f"127.0.0.1 {NODE_ADDRESS}", "protected-mode": "no"}).start()
        stack.callback(redis.kill)
        chain = Chain(cluster, namespace, redis)
        operator = stack.enter_context(starting(cluster, namespace, folder))()
        objects = monitoring(namespace)
        chain.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(served(objects, operator.port)))
        monitors = of_kind(objects, "PodMonitor", "ServiceMonitor")
        namespaces = {name for each in monitors for name in each["spec"]["namespaceSelector"]["matchNames"]}
        discovery = stack.enter_context(Discovery(cluster, sorted(namespaces)))
        jobs = [job_of(each, discovery) for each in monitors]
        (rules,) = of_kind(objects, "PrometheusRule")
        prometheus = Prometheus(folder / "prometheus", jobs, rules["spec"], seconds=1).start()
        stack.callback(lambda: print(prometheus.log()))
        stack.callback(prometheus.stop)
        shop = Shop(chain, operator, prometheus)
        shop.conduct()
        if os.environ.get("RECORD_DASHBOARDS"):
            RECORDED.write_text(shop.recorded().written())
        yield shop


def is_number(answer: dict[str, Any]) -> bool:
    return any(text != "NaN" for _, text in answer["values"])


@each_board
def test_every_query_of_every_panel_returns_data(shop: Shop, board: Board) -> None:
    silent = [
        (panel.title, target.legend)
        for panel in board.panels
        for target in panel.targets
        if not any(map(is_number, shop.prometheus.over(shop.asked(target), shop.begin, shop.end)))
    ]

    assert silent == []


def test_variables_offer_what_there_is(shop: Shop) -> None:
    offered = {name: set(shop.offered(query)) for board in BOARDS.values() for name, query in lists(board)}

    namespaces = {shop.chain.namespace}
    assert offered["namespace"] == offered["operator"] == namespaces
    assert {"notifications", "orders"} <= offered["queue"]


def test_the_first_row_names_the_tube_that_lags_why_since_when_and_who_holds_it(shop: Shop) -> None:
    (tube,), (why,), (since,), (who,) = map(shop.shown_by, ("Which tube?", "Why?", "Since when?", "Who holds it?"))

    assert (tube["metric"]["handler"], tube["metric"]["thread"]) == ("notifications.NotifyHandler", str(HOT_THREAD))
    assert why["metric"]["why"] == "a worker is busy with it"
    assert who["metric"]["worker"] == shop.holder
    registered_at = float(since["value"][1]) / 1000
    took = shop.scrape_seconds("notifications")
    assert any(
        before - took - TIMESTAMP_TOLERANCE <= registered_at <= after + TIMESTAMP_TOLERANCE
        for before, after in shop.registered_at
    ), (registered_at, took, shop.registered_at)


def test_each_tube_is_listed_once_with_its_reason(shop: Shop) -> None:
    rows = [each["metric"] for each in shop.shown_by("Which tubes wait longest?") if "why" in each["metric"]]
    reasons = {row["thread"]: row["why"] for row in rows}

    assert len(reasons) == len(rows)
    assert reasons[str(HOT_THREAD)] == "a worker is busy with it"
    assert reasons["emil"] == "it failed and backs off"
    assert reasons["fritz"] == "it is paused"


def test_what_several_workers_tell_is_not_counted_twice(shop: Shop) -> None:
    tell = shop.prometheus.over('count(sharded_queue_handler_depth{queue="notifications"})', shop.begin, shop.end)
    assert max(float(count) for _, count in tell[0]["values"]) > 1
    registered = sum(map(len, shop.chain.registered.values()))

    told = f'max(max_over_time(sharded_queue_handler_registered_total{{queue="notifications"}}[{shop.seconds}]))'
    settled = told.replace("registered", "settled")
    tubes = (target for target in panel("Depth of these, and of the rest").targets)
    depths = [shop.prometheus.over(f"sum by (queue) ({shop.asked(each)})", shop.begin, shop.end) for each in tubes]
    assert shop.prometheus.at(told, shop.end)[0]["value"][1] == str(registered)
    assert shop.prometheus.at(settled, shop.end)[0]["value"][1] == str(registered)
    # Tubes and their rest come from scrapes a second apart; counted by two workers they would be twice as many.
    assert max(float(depth) for each in depths[0] for _, depth in each["values"]) < 1.5 * (registered + shop.ordered)


def test_what_workers_did_adds_up_to_what_was_registered(shop: Shop) -> None:
    done = f'sum(max_over_time(sharded_queue_worker_handled_total{{queue="notifications"}}[{shop.seconds}]))'
    registered = sum(map(len, shop.chain.registered.values()))

    assert shop.prometheus.at(done, shop.end)[0]["value"][1] == str(registered)
    assert shop.chain.handled() == shop.chain.registered


def test_each_request_waited_once_and_each_batch_was_one_call(shop: Shop) -> None:
    def total(metric: str) -> int:
        found = f'sum(max_over_time(sharded_queue_worker_{metric}{{queue="notifications"}}[{shop.seconds}]))'
        return int(shop.prometheus.at(found, shop.end)[0]["value"][1])

    assert total("wait_seconds_count") == sum(map(len, shop.chain.registered.values()))
    assert total("handling_seconds_count") == total("batches_total")


def test_every_order_was_settled_or_went_to_the_dead_letters(shop: Shop) -> None:
    def total(name: str) -> int:
        metric = f'sharded_queue_handler_{name}_total{{queue="orders"}}'
        return int(shop.prometheus.at(f"max(max_over_time({metric}[{shop.seconds}]))", shop.end)[0]["value"][1])

    assert (total("registered"), total("dead")) == (shop.ordered, 2)
    assert total("settled") == shop.ordered - 2


def test_nothing_waits_at_the_end(shop: Shop) -> None:
    for metric in ("sharded_queue_depth", "sharded_queue_lag_seconds", "sharded_queue_ready_replicas"):
        found = shop.prometheus.at(metric + '{queue=~"notifications|orders"}', shop.end)
        assert {each["metric"]["queue"]: each["value"][1] for each in found} == {"notifications": "0", "orders": "0"}


def test_alerts_are_evaluated_without_an_error(shop: Shop) -> None:
    rules = shop.prometheus.rules()

    assert {name: rule["lastError"] for name, rule in rules.items() if rule["health"] != "ok"} == {}
    assert len(rules) == len(of_rules(shop))


def test_alerts_fire_for_what_is_wrong_and_for_nothing_else(shop: Shop) -> None:
    """
    Most wait for minutes before they do: those are pending. How many leases a frozen worker loses is left open, and
    whether this machine reads Redis fast enough: `alerts.yaml` says when ShardedQueuePollsAreSlow fires.
    """
    left_open = {("ShardedQueueLeasesLost", "orders"), ("ShardedQueuePollsAreSlow", "")}
    found = shop.prometheus.over("ALERTS", shop.begin, shop.end)
    firing = {alert_of(each) for each in found if each["metric"]["alertstate"] == "firing"}
    now = {alert_of(each) for each in shop.prometheus.at('ALERTS{queue!~"notifications|orders"}', shop.end)}

    assert shop.firing_before == []
    assert firing - left_open == {("ShardedQueueDeadLetters", "orders")}
    assert now - left_open == {("ShardedQueueRefused", "refused"), ("ShardedQueueUnknown", "unreachable")}


def alert_of(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["metric"]["alertname"], answer["metric"].get("queue", "")


def of_rules(shop: Shop) -> list[Manifest]:
    (rules,) = of_kind(monitoring(shop.chain.namespace), "PrometheusRule")
    return [rule for group in rules["spec"]["groups"] for rule in group["rules"]]


def panel(title: str) -> Panel:
    (found,) = [panel for board in BOARDS.values() for panel in board.panels if panel.title == title]
    return found
