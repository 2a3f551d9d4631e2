"""The console of the chart, in its own pod and before a real browser: what it says of a run is so."""

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect
from redis.asyncio import Redis

from sharded_queue import Queue, RedisStorage
from sharded_queue.tube import Shard
from tests.chart.helm import CHART
from tests.chart.release import NAME, REDIS, Release, Right, queue
from tests.e2e.conftest import worker_of
from tests.e2e.shown_orders import Order
from tests.harness.browser import NARROW, Watched, opened_browser, overflow
from tools.operator_process import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CONSOLE = f"{NAME}-sharded-queue-console"
PORT = 8090
SHARD = Shard(Order.name)
HERE = Path(__file__).parent


class Run:
    """A queue with three customers: an order of one takes long, that of another fails, and the third is paused."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.host: str = release.get("service", REDIS)["spec"]["clusterIP"]

    def ask(self, question: Callable[[Redis], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            async with Redis(host=self.host) as redis:
                return await question(redis)

        return asyncio.run(once())

    def start(self) -> None:
        modules = {name: (HERE / name).read_text() for name in ("gate.py", "shown_orders.py")}
        handlers = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handlers"}, "data": modules}
        worker = worker_of("shown_orders", QUEUE_WORKER_BATCH_SIZE=1)
        spec = {"worker": worker, "handlers": [{"name": Order.name}], "replicas": 1}
        self.release.apply(handlers, queue("orders", **spec, scaling={"targetDrainSeconds": 1}))
        self.ask(lambda redis: RedisStorage(redis).pause(SHARD, "paused", True))
        self.ask(lambda redis: Queue(RedisStorage(redis)).register(Order, "slow", "slow", "failing", "paused"))
        until(self.has_come_to_rest, "one thread is at work and one has failed", 60)

    def has_come_to_rest(self) -> bool:
        slow, failing = (
            self.ask(lambda redis, name=name: RedisStorage(redis).explain(SHARD, name)) for name in ("slow", "failing")
        )
        return bool(slow.is_held and slow.in_hand and failing.blocked_seconds)

    def open_the_gate(self) -> None:
        self.ask(lambda redis: redis.xadd("gate:slow", {"is": "open"}))

    def pod(self) -> str:
        (pod,) = self.release.get("pods", "--selector=shardedqueue.dev/queue=orders")["items"]
        return str(pod["metadata"]["name"])


@pytest.fixture
def run(release: Release) -> Iterator[Run]:
    if release.cluster.node is None:
        pytest.skip("this machine cannot reach the Services of a cluster elsewhere")
    release.install("--set=redis.enabled=true")
    run = Run(release)
    run.start()
    yield run
    run.open_the_gate()


@contextmanager
def forwarded(release: Release) -> Iterator[str]:
    """The address of the console as `kubectl port-forward` gives it to a person."""
    words = ["kubectl", "port-forward", "--namespace", release.namespace, f"service/{CONSOLE}", f":{PORT}"]
    with subprocess.Popen(words, env=release.cluster.env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield f"http://{found[0]}/"
        finally:
            process.terminate()


def test_console_is_upgraded_in_and_says_what_is_so(run: Run) -> None:
    """By `helm upgrade --set console.enabled=true`, as its page in the docs says."""
    release = run.release
    release.helm(
        "upgrade",
        NAME,
        str(CHART),
        "--reuse-values",
        "--set=console.enabled=true,console.anybodyMayLook=true",
        "--wait",
        "--timeout=90s",
    )

    with forwarded(release) as address:
        asyncio.run(shows(run, address))
    answers_to_the_names_of_its_service_only(release)
    only_lists_shardedqueues(release)


async def shows(run: Run, address: str) -> None:
    pod = await asyncio.to_thread(run.pod)
    async with opened_browser() as browser:
        watched = Watched(await browser.new_page(viewport={"width": NARROW, "height": 800}))
        page = watched.page
        await page.goto(address)
        await expect(page.locator("h1")).to_contain_text(
            re.compile(
                "Thread failing of tests.Order is blocked and waits .*: its next try .*, last: ValueError: Declined"
            )
        )
        await expect(page.locator(".problems")).to_contain_text("1 thread of tests.Order is paused")

        await page.goto(f"{address}thread?handler=tests.Order&thread=paused")
        await expect(page.locator("h1")).to_contain_text("Thread paused is paused")
        await page.goto(f"{address}workers")
        await expect(page.locator("main")).to_contain_text(pod)

        await shows_the_queue(run, page, address)
        await page.goto(f"{address}thread?handler=tests.Order&thread=slow")
        await expect(page.locator("h1")).to_contain_text(f"Thread slow is bound: {run.release.namespace}.{pod}/")
        await asyncio.to_thread(run.open_the_gate)
        await expect(page.locator("h1")).to_contain_text("Thread slow is idle: it has no requests")
        assert not watched.faults


async def shows_the_queue(run: Run, page: Page, address: str) -> None:
    """As the API server has it, for everybody; and after its account lost its right, with a word about that."""
    await page.goto(f"{address}shardedqueues")
    hot = "orders needs a look: thread slow of tests.Order has kept a worker busy for 1 s without a break"
    await expect(page.locator("h1")).to_contain_text(hot, timeout=15_000)
    queue = page.get_by_role("article", name=f"{run.release.namespace}/orders")
    await expect(queue).to_contain_text("0 to 10, pinned to 1")
    await expect(queue).to_contain_text(
        (await asyncio.to_thread(run.release.get, "shq", "orders"))["status"]["message"]
    )
    await expect(queue.get_by_role("link", name=Order.name)).to_be_visible()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found = await Axe().run(page)
        assert not found.violations_count, found.generate_report()
    assert not await overflow(page)

    binding = f"rolebinding/{run.release.namespace}-{CONSOLE}"
    await asyncio.to_thread(run.release.kubectl, "delete", binding)
    said = "the account of this pod may not list ShardedQueues"
    await expect(page.get_by_role("alert")).to_contain_text(said, timeout=15_000)
    await expect(queue).to_contain_text("pinned to 1")


def only_lists_shardedqueues(release: Release) -> None:
    """By the API server's own account of what the console asked it for."""
    assert release.cluster.audit_log
    account = f"system:serviceaccount:{release.namespace}:{CONSOLE}"
    asked = {right for right, _ in release.asked(release.cluster.audit_log, account)}
    assert asked == {Right("shardedqueue.dev", "shardedqueues", "list")}


def answers_to_the_names_of_its_service_only(release: Release) -> None:
    address = f"http://{release.get('service', CONSOLE)['spec']['clusterIP']}:{PORT}/"
    names = [CONSOLE, f"{CONSOLE}.{release.namespace}", f"{CONSOLE}.{release.namespace}.svc", "evil.example"]
    answers = [httpx.get(address, headers={"Host": f"{name}:{PORT}"}).status_code for name in names]
    assert answers == [200, 200, 200, 421]
