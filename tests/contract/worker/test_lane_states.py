"""Each way that a lane goes through its states, and that there is no other: the figure in docs/architecture.md."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from sharded_queue import settings
from sharded_queue.worker.hold import Hold
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.lane_state import ENDING, HANDLING, LINGERING, LOST, NEXT, RELEASED, SETTLING, LaneState
from sharded_queue.worker.loop import Worker
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, soon

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"


class Scene:
    """One lane of a handler that opens and closes something, and the states that it had."""

    def __init__(self, bench: Bench, path: list[LaneState]) -> None:
        self.bench, self.path, self.changed = bench, path, asyncio.Event()
        self.is_called, self.stops, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_end.set()
        scene = self

        class ScenicHandler(JobHandler):
            async def perform(self, *requests: Job) -> None:
                scene.is_called.set()
                await scene.may_end.wait()

            async def stop(self) -> None:
                scene.stops.set()
                await scene.may_end.wait()

        self.handler = ScenicHandler

    async def register(self) -> None:
        await self.bench.queue.register(self.handler, Job(1))

    async def reach(self, state: LaneState) -> None:
        async with asyncio.timeout(SOON):
            while self.path[-1] is not state:
                self.changed.clear()
                await self.changed.wait()


Way = Callable[[Scene, Worker], Awaitable[None]]


async def wait_for_more(scene: Scene, worker: Worker) -> None:
    await scene.reach(LINGERING)


async def get_more(scene: Scene, worker: Worker) -> None:
    await scene.reach(LINGERING)
    scene.is_called.clear()
    await scene.register()
    await soon(scene.is_called)


async def stop_in_a_call(scene: Scene, worker: Worker) -> None:
    scene.may_end.clear()
    await soon(scene.is_called)
    worker.stop()
    scene.may_end.set()


async def abort_in_a_call(scene: Scene, worker: Worker) -> None:
    scene.may_end.clear()
    await soon(scene.is_called)
    worker.abort()
    scene.may_end.set()


async def lose_it_in_a_call(scene: Scene, worker: Worker) -> None:
    scene.may_end.clear()
    await soon(scene.is_called)
    lane_of(worker).revoke("a test")
    scene.may_end.set()


async def abort_while_it_lingers(scene: Scene, worker: Worker) -> None:
    await scene.reach(LINGERING)
    worker.abort()


async def lose_it_while_it_lingers(scene: Scene, worker: Worker) -> None:
    await scene.reach(LINGERING)
    lane_of(worker).revoke("a test")


async def lose_it_while_it_ends(scene: Scene, worker: Worker) -> None:
    await scene.reach(LINGERING)
    scene.may_end.clear()
    lane = lane_of(worker)
    worker.abort()
    await soon(scene.stops)
    lane.revoke("a test")
    scene.may_end.set()


def lane_of(worker: Worker) -> Lane:
    (lane,) = worker.lanes
    return lane


HANDLED = [HANDLING, SETTLING, HANDLING]
DRAINED = [*HANDLED, LINGERING]
LEFT = [LINGERING, SETTLING, LINGERING, RELEASED]

WAYS: dict[Way, list[LaneState]] = {
    wait_for_more: [*HANDLED, *LEFT],
    get_more: [*DRAINED, *HANDLED, *LEFT],
    stop_in_a_call: [*HANDLED, RELEASED],
    abort_in_a_call: [HANDLING, ENDING, RELEASED],
    lose_it_in_a_call: [HANDLING, LOST],
    abort_while_it_lingers: [*DRAINED, ENDING, RELEASED],
    lose_it_while_it_lingers: [*DRAINED, LOST],
    lose_it_while_it_ends: [*DRAINED, ENDING, LOST],
}


@pytest.fixture
def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene, to = Scene(bench, [HANDLING]), Hold.to

    def record(hold: Hold, state: LaneState) -> None:
        to(hold, state)
        scene.path.append(state)
        scene.changed.set()

    monkeypatch.setattr(Hold, "to", record)
    return scene


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_lane_goes_its_way(scene: Scene, way: Way) -> None:
    settings.worker_empty_pause = 60  # it lingers until something happens
    await scene.register()
    async with scene.bench.working(scene.handler) as worker:
        await way(scene, worker)

    brought = [LINGERING, HANDLING]  # a request that came with its wake-up needs no call
    asked = [LINGERING, SETTLING, LINGERING, HANDLING]
    assert scene.path in (WAYS[way], replaced(WAYS[way], brought, asked))


def replaced(path: list[LaneState], part: list[LaneState], by: list[LaneState]) -> list[LaneState]:
    at = [place for place in range(len(path)) if path[place : place + len(part)] == part]
    return [*path[: at[0]], *by, *path[at[0] + len(part) :]] if at else path


def test_each_arrow_of_the_figure_is_gone_along() -> None:
    arrows = {(state, after) for state, nexts in NEXT.items() for after in nexts}
    assert {pair for path in WAYS.values() for pair in pairwise(path)} == arrows


def test_a_lane_goes_no_other_way() -> None:
    hold = object.__new__(Hold)
    for state, nexts in NEXT.items():
        for other in set(LaneState) - set(nexts) if state.is_held else ():
            hold.state = state
            with pytest.raises(AssertionError, match=f"a lane went from {state.word} to {other.word}"):
                hold.to(other)


@pytest.mark.parametrize("end", [RELEASED, LOST], ids=lambda end: end.word)
def test_an_end_is_final(end: LaneState) -> None:
    hold = object.__new__(Hold)
    hold.state = end
    for other in LaneState:
        hold.to(other)
        assert hold.state is end


async def test_a_handler_that_heeds_no_cancellation_is_settled_where_its_fence_holds(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class StubbornHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            is_called.set()
            with suppress(asyncio.CancelledError):
                await hang()

    is_called = asyncio.Event()
    await bench.queue.register(StubbornHandler, Job(1))
    async with bench.working(StubbornHandler) as worker:
        await soon(is_called)
        lane_of(worker).revoke("a test")

    assert (worker.stats.handled, worker.stats.lost, await bench.depth(StubbornHandler)) == (1, 1, 0)
    assert "failed" not in caplog.text


def test_the_figure_is_that_of_the_code() -> None:
    lines = [f"{state.word:<10}→ {', '.join(after.word for after in NEXT[state])}" for state in NEXT if NEXT[state]]
    assert "\n".join(lines) in ARCHITECTURE.read_text()
