"""What is reconciled when nothing happens: what time alone changes, at its moment, and nothing else."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from sharded_queue.coordinator import BindRequest
from sharded_queue.state import About, Hold, ShardState, TubeLag
from sharded_queue.storage import Entry, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue_operator.cluster.contest import REST_SECONDS
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.scaling.decide import FEW_READS, decide
from sharded_queue_operator.scaling.history import History, Wish
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.policy import Policy
from sharded_queue_operator.scaling.rest import is_same, next_change
from tests.contract.backend import LEASE_SECONDS, SHARD, MemoryBackend
from tests.unit.sharded_queue_operator.api_server import NAME, body
from tests.unit.sharded_queue_operator.timeline import IDLE, Timeline

Begin = Callable[..., Awaitable[Timeline]]


@pytest.fixture
async def begin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    begun: list[Timeline] = []

    async def begin(*, is_eager: bool = False, **spec: Any) -> Timeline:
        begun.append(timeline := Timeline(monkeypatch, is_eager=is_eager, **spec))
        await timeline.begin()
        return timeline

    yield begin
    for timeline in begun:
        await timeline.close()


def waiting(lag_seconds: float, depth: int = 1, **changed: Any) -> ShardState:
    """A thread that waits for a worker."""
    tube = TubeLag("t", 0, depth, lag_seconds)
    counts = {"registered": 5 + depth, "depth": depth, "threads": 1, "ready": 1}
    return replace(IDLE, lag_seconds=lag_seconds, oldest=[tube], **{**counts, **changed})


async def test_a_thousand_readings_of_an_idle_queue_cause_no_reconciliation(begin: Begin) -> None:
    timeline = await begin()
    await timeline.rest(100)
    before = timeline.reconciled
    await timeline.rest(1000)

    assert timeline.reconciled == before


async def test_requests_that_only_grow_older_cause_none_either(begin: Begin) -> None:
    timeline = await begin(suspend=True)
    for second in range(200):
        await timeline.read(waiting(second))
    before = timeline.reconciled
    for second in range(200, 400):
        await timeline.read(waiting(second))

    assert timeline.reconciled == before


async def test_a_first_request_is_reconciled_with_its_reading(begin: Begin) -> None:
    timeline = await begin()
    await timeline.rest(1000)
    await timeline.read(waiting(0.1))

    assert timeline.cluster.replicas == 1


async def test_replicas_fall_when_the_window_ends(begin: Begin) -> None:
    timeline = await begin(scaling={"scaleDownStabilizationSeconds": 600})
    await timeline.read(waiting(0.1))
    before = timeline.reconciled
    seconds = await timeline.rest(1000, replace(IDLE, registered=6, settled=6), lambda: timeline.cluster.replicas == 0)

    assert seconds == 600
    assert timeline.reconciled < before + 40


def test_a_poll_that_follows_a_reading_between_two_polls_is_reconciled() -> None:
    """That one may not lower, whatever the window says."""
    history = History(wishes=(Wish(0, 0),), known_reads=9)
    seen = Observation(1, (IDLE,), 100, is_hurried=True)
    decision = decide(seen, Policy(), history, 100)

    assert decision.reason == FEW_READS
    assert next_change(seen, Policy(), decision, 100) == -inf


@pytest.mark.slow
async def test_a_queue_at_rest_keeps_its_workers_for_the_window_after_its_last_request(begin: Begin) -> None:
    """The readings at which nothing happened count: the worker was wanted until the last of them."""
    timeline = await begin(scaling={"scaleDownStabilizationSeconds": 60, "maxReplicas": 1})
    for second in range(500):  # a worker is there, and nobody knows why it does not take the thread
        await timeline.read(waiting(second))
    seconds = await timeline.rest(200, replace(IDLE, registered=6, settled=6), lambda: timeline.cluster.replicas == 0)

    assert seconds == 60


async def test_a_thread_that_comes_after_a_rest_was_not_held_meanwhile(begin: Begin) -> None:
    timeline = await begin()
    await timeline.rest(300)
    hold = Hold("t", "n-1", 1, 0.5, 15.0, 1)
    await timeline.read(waiting(0.5, ready=0, bound=1, held=[hold]))

    assert timeline.controller.entries[NAME].history.work.lanes(60) <= 1 / 60


async def test_a_pin_ends_at_its_second(begin: Begin) -> None:
    timeline = await begin(replicas=3, pinSeconds=600)
    await timeline.read(IDLE)
    assert timeline.cluster.replicas == 3
    seconds = await timeline.rest(1000, until=lambda: "replicas" not in timeline.cluster.resource["spec"])

    assert seconds == 600
    assert timeline.reconciled < 60


async def test_a_contest_ends_after_its_rest(begin: Begin) -> None:
    """Another writer resets the number each five minutes, for an hour."""
    timeline = await begin(scaling={"minReplicas": 2})
    await timeline.read(IDLE)
    for _ in range(2):
        await undo(timeline, 5)
        await timeline.read(IDLE)
    assert timeline.condition("Contested")["status"] == "True"
    assert timeline.cluster.replicas == 5

    before = timeline.reconciled
    for _ in range(12):
        seconds = await timeline.rest(1000, until=lambda: timeline.cluster.replicas == 2)
        assert seconds == REST_SECONDS - 1  # the first second has passed
        assert timeline.condition("Contested")["status"] == "False"
        await undo(timeline, 5)
        await timeline.read(IDLE)
        assert timeline.condition("Contested")["status"] == "True"
    assert timeline.reconciled < before + 12 * 20


async def undo(timeline: Timeline, replicas: int) -> None:
    timeline.controller.workload_changed(timeline.cluster.scale(replicas, manager="hpa"))
    await timeline.work()


async def test_starving_is_said_at_the_drain_time(begin: Begin) -> None:
    timeline = await begin(suspend=True, scaling={"targetDrainSeconds": 120})
    said = [await starves(timeline, second) for second in range(1, 300)]

    assert said.index(True) + 1 == 120
    assert timeline.reconciled < 30


async def starves(timeline: Timeline, second: int) -> bool:
    await timeline.read(waiting(second))
    return bool(timeline.condition("Starving").get("status") == "True")


async def test_a_status_that_was_not_worth_a_write_is_written_later(begin: Begin) -> None:
    timeline = await begin(suspend=True, scaling={"targetDrainSeconds": 3600})
    await timeline.read(waiting(1, 100))
    await timeline.read(waiting(2, 200))
    assert timeline.cluster.status["depth"] == 100
    seconds = [timeline.cluster.status["depth"] == 200 or await timeline.read(waiting(s, 200)) for s in range(3, 90)]

    assert seconds.index(True) == 29


async def test_reconciliations_that_wait_for_nothing_leave_the_event_loop_to_others(controller: Controller) -> None:
    """A thousand of them once held it for half a second, and a first request waited."""
    for number in range(1000):
        controller.queue.add(Name("shop", f"n-{number}"))
    running = asyncio.create_task(controller.run())
    for _ in range(10):
        await asyncio.sleep(0)
    left = len(controller.queue)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert left > 900


async def test_what_another_resource_changes_is_said_at_the_next_reading(begin: Begin) -> None:
    timeline = await begin()
    await timeline.rest(100)
    other = body()
    other["metadata"] |= {"name": "other", "uid": "3-4"}
    timeline.controller.resource_changed(other)
    await timeline.read(IDLE)
    assert timeline.condition("SharedHandlers")["status"] == "True"

    timeline.controller.resource_gone(other)
    await timeline.read(IDLE)
    assert timeline.condition("SharedHandlers")["status"] == "False"


async def test_the_problem_of_a_pod_is_looked_at_with_the_next_reading(begin: Begin) -> None:
    timeline = await begin()
    await timeline.rest(100)
    before = timeline.reconciled
    pod = {"metadata": {"namespace": "shop", "name": "p", "uid": "p", "labels": {"shardedqueue.dev/queue": "n"}}}
    timeline.controller.pod_changed(pod | {"spec": {}, "status": {"phase": "Pending"}})
    await timeline.rest(10)

    assert timeline.reconciled == before + 1


class Work:
    """A queue whose requests come at random, are handled by the workers that are there, and pause at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.waiting: dict[str, list[int]] = {}
        self.held: dict[str, int] = {}
        self.registered = self.settled = 0
        self.burst_ends = 0

    def state(self, now: int, lanes: int) -> ShardState:
        self.work(now, lanes)
        if self.random.random() < 0.01:
            self.burst_ends = now + self.random.randrange(60)
        if now < self.burst_ends and self.random.random() < 0.5:
            self.come(now)
        self.held = {thread: at for thread, at in self.held.items() if thread in self.waiting}
        for thread in list(self.waiting)[:lanes]:
            self.held.setdefault(thread, now)
        return self.read(now)

    def come(self, now: int) -> None:
        for thread in self.random.sample("abcdefghij", self.random.randrange(1, 10)):
            self.waiting.setdefault(thread, []).extend([now] * 3)
            self.registered += 3

    def work(self, now: int, lanes: int) -> None:
        for thread in list(self.held)[:lanes]:
            self.waiting[thread].pop(0)
            self.settled += 1
            if not self.waiting[thread]:
                del self.waiting[thread]

    def read(self, now: int) -> ShardState:
        tubes = [
            TubeLag(t, 0, len(at), now - at[0], "bound" if t in self.held else "ready")
            for t, at in self.waiting.items()
        ]
        held = [Hold(t, f"n-{n}#1", n, now - at + 0.5, 15.0, 1) for n, (t, at) in enumerate(self.held.items())]
        depths = sorted(((t, len(at)) for t, at in self.waiting.items()), key=lambda each: -each[1])
        return ShardState(
            shard=IDLE.shard,
            depth=sum(depth for _, depth in depths),
            threads=len(depths),
            ready=len(depths) - len(held),
            bound=len(held),
            lag_seconds=max((tube.lag_seconds for tube in tubes), default=0),
            deepest=depths,
            oldest=sorted(tubes, key=lambda tube: -tube.lag_seconds),
            held=held,
            registered=self.registered,
            settled=self.settled,
            busy_seconds=float(self.settled),
            born=7,
        )


async def replicas_over_time(timeline: Timeline, seed: int) -> list[int]:
    work = Work(seed)
    found = []
    for now in range(1, 1800):
        await timeline.read(work.state(now, timeline.cluster.replicas * 2))
        found.append(timeline.cluster.replicas)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
async def test_a_resting_controller_does_what_an_eager_one_does(begin: Begin, seed: int) -> None:
    """Half an hour of random work, second by second."""
    scaling = {"maxReplicas": 5, "threadsPerReplica": 2}
    eager = await begin(scaling=scaling, is_eager=True)
    expected = await replicas_over_time(eager, seed)
    resting = await begin(scaling=scaling)
    found = await replicas_over_time(resting, seed)

    assert found == expected
    assert resting.reconciled < 0.7 * eager.reconciled


async def test_a_queue_to_which_nothing_happens_is_the_same_whatever_is_in_it() -> None:
    """With a worker that polled, and what is ready, paused, delayed, scheduled and overdue: only ages differ."""
    backend = MemoryBackend()
    await backend.register("a", "1", "2")
    await backend.register("still", "1")
    await backend.storage.pause(SHARD, "still", True)
    for seconds in (1, 1000):
        await backend.storage.register(SHARD, Registration([Entry("late", 0, [b"x"])], delay_seconds=seconds))
    await backend.storage.schedule(SHARD, Schedule("beat", every(1), "b", 0, b"x"))
    await backend.coordinator.bind(SHARD, BindRequest("w/1", 0, 1, LEASE_SECONDS, about=About("1.0", 4, 0, 5)))
    await backend.advance(5)
    before = await backend.observe()
    await backend.advance(1)
    after = await backend.observe()

    assert (before.overdue, before.paused, before.ready, before.concurrencies) == (2, 1, 1, [4])
    assert before != after
    assert is_same([before], [after])
    await backend.register("a", "3")
    assert not is_same([after], [await backend.observe()])
