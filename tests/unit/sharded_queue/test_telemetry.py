"""OpenTelemetry metrics of workers: their names, units and values, read by the SDK, and their cost without it."""

import asyncio
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from sharded_queue import Handler, Queue, Retry, Route, RuntimeCoordinator, RuntimeStorage, Worker, settings
from sharded_queue.worker import telemetry

TABLE = Path(__file__).parents[3] / "docs" / "metrics.md"
OF_MAIL = {"messaging.system": "sharded_queue", "messaging.destination.name": "tests.Mail"}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """What a program that set a provider up would export. What other tests did with workers does not count."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    gc.collect()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    monkeypatch.setattr(telemetry, "meter", provider.get_meter("sharded_queue"))
    monkeypatch.setattr(telemetry, "_past", dict.fromkeys(telemetry.COUNTERS, 0.0))
    monkeypatch.setattr(telemetry, "_workers", type(telemetry._workers)())
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 0.01
    yield reader
    provider.shutdown()


def read(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    assert data
    return {each.name: each for of in data.resource_metrics for scope in of.scope_metrics for each in scope.metrics}


def value(reader: InMemoryMetricReader, name: str) -> float:
    (point,) = read(reader)[f"sharded_queue.worker.{name}"].data.data_points
    return point.value


def mail(*, fails: int = 0) -> type[Handler]:
    class Mail(Handler):
        name = "tests.Mail"
        retry = Retry(limit=9, base_seconds=0, cap_seconds=0)

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(request % 2) for request in requests]

        async def perform(self, *requests: int) -> None:
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise KeyError("no mail server")

    return Mail


async def served(handler: type[Handler], requests: int = 4) -> Worker:
    queue = Queue(RuntimeStorage())
    await queue.register(handler, *range(requests))
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler])
    await worker.loop(requests)
    return worker


async def test_counters_are_those_of_the_worker(reader: InMemoryMetricReader) -> None:
    worker = await served(mail(fails=1))

    stats = worker.stats
    assert value(reader, "handled") == stats.handled == 4
    assert value(reader, "batches") == stats.batches
    assert value(reader, "failures") == stats.failed == 1
    assert value(reader, "busy_time") == stats.busy_seconds
    assert value(reader, "binds") == stats.bound
    assert value(reader, "lost_leases") == 0
    assert value(reader, "bound_threads") == 0


async def test_a_counter_does_not_fall_when_a_worker_is_gone(reader: InMemoryMetricReader) -> None:
    await served(mail())
    gc.collect()
    assert not list(telemetry._workers)
    worker = await served(mail(), 2)

    assert worker.stats.handled == 2
    assert value(reader, "handled") == 6


async def test_a_call_is_a_duration_with_its_handler_and_its_error(reader: InMemoryMetricReader) -> None:
    await served(mail(fails=1), 1)

    points = read(reader)["messaging.process.duration"].data.data_points
    named = {**OF_MAIL, "messaging.operation.name": "handle"}
    assert [dict(point.attributes) for point in points] == [{**named, "error.type": "KeyError"}, named]
    assert [point.count for point in points] == [1, 1]


async def test_depth_and_lag_are_those_of_each_handler_while_they_are_known(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(Handler):
        name = "tests.Mail"

        async def perform(self, *requests: int) -> None:
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    queue = Queue(RuntimeStorage())
    await queue.register(Waiting, 1, 2, 3)
    worker = Worker(RuntimeCoordinator(), queue, handlers=[Waiting])
    looping = asyncio.create_task(worker.loop())
    await began.wait()

    found = read(reader)
    (depth,), (lag,) = (found[f"sharded_queue.handler.{name}"].data.data_points for name in ("depth", "lag"))
    assert (depth.value, dict(depth.attributes)) == (3, OF_MAIL)
    assert lag.value >= 0
    assert value(reader, "bound_threads") == 1
    worker.abort()
    await looping
    assert "sharded_queue.handler.depth" not in read(reader)


async def test_names_and_units_are_those_of_the_page(reader: InMemoryMetricReader) -> None:
    await served(mail())
    told = {
        name: (kind, unit)
        for name, kind, unit in re.findall(
            r"^\| `([a-z_]+\.[a-z_.]+)` \| (\w[\w ]+) \| `(.+?)` \|", TABLE.read_text(), re.MULTILINE
        )
    }

    assert {name: each.unit for name, each in read(reader).items()}.items() <= {
        name: unit for name, (_, unit) in told.items()
    }.items()
    assert len(told) == 10


def test_nothing_is_read_or_recorded_without_a_provider() -> None:
    assert not telemetry.is_on()


@pytest.mark.slow
def test_a_worker_runs_without_the_api() -> None:
    script = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from sharded_queue import *
class Mail(Handler):
    async def perform(self, *requests: int): ...
async def main():
    queue = Queue(RuntimeStorage())
    await queue.register(Mail, 1)
    worker = Worker(RuntimeCoordinator(), queue)
    assert await worker.loop(1) == 1
    assert len(asyncio.all_tasks()) == 1
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
