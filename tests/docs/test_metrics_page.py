"""The tables of docs/metrics.md have the names, kinds and labels that the code has."""

import re
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric

from sharded_queue import Queue, RuntimeCoordinator, RuntimeStorage, Worker
from sharded_queue.monitoring import metrics
from sharded_queue.web.people import People
from sharded_queue.web.refusals import Refusals
from sharded_queue_operator import metrics as operator_metrics
from tests.harness.pages import DOCS

type_and_labels = tuple[str, frozenset[str]]


def documented() -> dict[str, type_and_labels]:
    rows = re.findall(
        r"^\| `(sharded_queue_\w+)` \| (\w+) \| ([^|]*)\|", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def of(families: Iterable[tuple[Metric, Iterable[str]]]) -> dict[str, type_and_labels]:
    return {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, frozenset(labels))
        for family, labels in families
    }


def test_the_tables_are_those_of_the_code() -> None:
    worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()), handlers=[])
    families = [*metrics.of_worker(worker, is_known=True), *metrics.of_queues([], [])]
    console = [each for each in Refusals(People())._registry._collector_to_names if isinstance(each, Counter | Gauge)]
    own = [each for each in vars(operator_metrics).values() if isinstance(each, Counter | Gauge | Histogram)]

    told = of((family, family._labelnames) for family in families)  # type: ignore[attr-defined]
    told |= of((family, each._labelnames) for each in [*console, *own] for family in each.describe())

    assert documented() == told
