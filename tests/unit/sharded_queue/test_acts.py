"""Acts of people, each cut at each of its calls and asked for again, late, twice, and with names that mean nothing."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sharded_queue import Admin, RuntimeStorage, StorageUnavailable, letters, steps
from sharded_queue.admin import pause
from sharded_queue.admin.acts import ActionContext, BadField, Plan, Step, carry_out, make
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.letters import ReplayLetters
from sharded_queue.admin.pause import Pause
from sharded_queue.backends.memory.coordinator import RuntimeCoordinator
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import NotPossible, RouteError
from sharded_queue.storage import Cause, Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard, Tube
from sharded_queue.web.actions import ACTIONS
from tools.acts import ACTS, manual

HANDLER = Named("shop.Charge", 1)
SHARD = Shard(HANDLER.name)
LATER = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
SAID: Mapping[str, Mapping[str, str]] = {
    "pause": {},
    "resume": {"thread": "4"},
    "resume-exhausted": {"error": "refused"},
    "reshard": {"threads": "8"},
    "replay-tail": {"all": "yes", "text": "50"},
    "replay-head": {"all": "yes"},
    "drop-letters": {"all": "yes", "error": "closed"},
    "cancel": {"all": "yes"},
    "run-delayed": {"all": "yes"},
    "move-delayed": {"all": "yes", "at": LATER},
    "unschedule": {"schedule": "nightly"},
    "run-schedule": {"schedule": "nightly"},
    "edit-schedule": {"schedule": "nightly", "timing": "every 7200 s"},
    "drop-requests": {"thread": "7", "all": "yes"},
}
"""Of each button of the console, what a person says."""
HOUR_MS = 3_600_000
ANN = {"by": "ann", "reason": "why"}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (letters, steps):
        monkeypatch.setattr(module, "STEP_NUMBERS", 2)
    monkeypatch.setattr(pause, "STEP_THREADS", 2)


async def filled() -> RuntimeStorage:
    """
    Threads of which some are paused and some exhausted, dead letters of two of them, delayed requests, a schedule, a
    layout.
    """
    storage = RuntimeStorage()
    await exhaust(storage, "refused", "refused", "Refused: no cover", "closed")
    for thread in "4567":
        bodies = [b"[%d]" % (10 * int(thread) + number) for number in range(3)]
        await storage.register(SHARD, Registration([Entry(thread, 0, bodies)]))
    await storage.pause(SHARD, "4", True)
    for thread in "56":
        await storage.drop(SHARD, thread, Cause("bob", "closed"))
        await storage.register(SHARD, Registration([Entry(thread, 0, [b"[1]"])]))
    await storage.register(SHARD, Registration([Entry("8", 0, [b"[4]", b"[5]", b"[6]"])], delay_seconds=7200))
    await storage.register(SHARD, Registration([Entry("1:0", 0, [b"[7]"])], layout=Layout(1, 2)))
    await storage.schedule(SHARD, Schedule("nightly", every(86_400), "9", 0, b"[8]"))
    return storage


async def exhaust(storage: RuntimeStorage, *errors: str) -> None:
    """A thread for each of these errors."""
    coordinator = RuntimeCoordinator()
    coordinator.attach(storage)
    for number, error in enumerate(errors):
        await storage.register(SHARD, Registration([Entry(f"x{number}", 0, [b"[0]"])]))
        (batch,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 60))).batches
        await storage.fail(Failure(batch.lease, 0, batch.first, 3, error, stops=True))


async def state_of(storage: RuntimeStorage) -> dict[str, Any]:
    """What people see of it. Sequence numbers, and moments that follow from the present, may be others."""
    (state,) = await storage.observe([SHARD], 100)
    threads = [*"456789", "1:0"]
    return {
        "requests": {t: [body[13:] for _, body in await storage.peek(Tube(SHARD, t, 0), 100)] for t in threads},
        "letters": sorted((each.thread, each.error, each.message[13:]) for each in await storage.dead(SHARD)),
        "delayed": [(each.body, each.due_ms // HOUR_MS) for each in await storage.delayed(SHARD)],
        "schedules": [(each.name, each.timing) for each in await storage.schedules(SHARD)],
        "paused": (state.is_paused, await storage.paused(SHARD), await storage.acts(SHARD)),
        "layout": state.layout,
        "exhausted": sorted(each.thread for each in (await storage.exhausted(SHARD))[0]),
    }


class Cut:
    """A storage that falls silent at one of its calls, which was carried out before, or was not."""

    def __init__(self, storage: RuntimeStorage, at: int, is_done: bool) -> None:
        self.storage, self.left, self.is_done = storage, at, is_done

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.storage, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                return await found(*arguments, **named)
            if self.is_done:
                await found(*arguments, **named)
            raise StorageUnavailable("no answer")

        return call


async def planned(storage: Any, action: str, said: Mapping[str, str], handler: Named = HANDLER) -> Plan:
    button = ACTIONS[action]
    act = make(button.act, handler, {name: [text] for name, text in {**ANN, **said, **button.said}.items()})
    return await act.plan(ActionContext(storage))


async def done(storage: Any, action: str, said: Mapping[str, str]) -> Sequence[Step]:
    plan = await planned(storage, action, said)
    return [step async for step in carry_out(plan.act, ActionContext(storage))]


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_plan_writes_nothing_and_its_act_does_something(action: str) -> None:
    storage = await filled()
    before = await state_of(storage)
    plan = await planned(storage, action, SAID[action])
    assert await state_of(storage) == before
    assert plan.question.endswith("?")
    assert plan.total > 0

    (*_, last) = await done(storage, action, SAID[action])
    assert await state_of(storage) != before
    assert plan.act.sentences(last)
    assert (len(last.done), last.left) == (last.total, {})


@pytest.mark.parametrize("is_done", [False, True], ids=["not carried out", "its answer lost"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_act_that_is_cut_at_any_call_is_finished_by_asking_again(action: str, is_done: bool) -> None:
    whole = await filled()
    await done(whole, action, SAID[action])
    expected, cuts = await state_of(whole), 0
    for at in count():
        storage = await filled()
        with suppress(StorageUnavailable):
            await done(Cut(storage, at, is_done), action, SAID[action])
            break
        cuts += 1
        is_lost = is_done and action == "run-schedule" and await state_of(storage) == expected
        with suppress(NotPossible):  # it is done: what it was about is gone
            if not is_lost:  # who asks for it once more gets it once more
                await done(storage, action, SAID[action])
        assert await state_of(storage) == expected, at
    assert cuts >= 2


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "run-schedule"])
async def test_an_act_that_is_asked_for_twice_is_done_once(action: str) -> None:
    storage = await filled()
    plan = await planned(storage, action, SAID[action])
    after = None
    for _ in range(2):
        with suppress(NotPossible):
            async for _step in carry_out(plan.act, ActionContext(storage)):
                pass
        after = after or await state_of(storage)

    assert await state_of(storage) == after


@pytest.mark.parametrize("search", [{}, {"error": "e"}], ids=["all", "found"])
@pytest.mark.parametrize("action", ["replay-tail", "replay-head", "drop-letters"])
async def test_what_died_after_the_plan_is_left_alone(action: str, search: dict[str, str]) -> None:
    storage = await filled()
    plan = await planned(storage, action, {"all": "yes"} | search)
    await storage.drop(SHARD, "7", Cause("bob", "late"))
    async for _ in carry_out(plan.act, ActionContext(storage)):
        pass

    assert {letter.thread for letter in await storage.dead(SHARD)} == {"7"}


async def test_all_of_nothing_does_not_stand_for_all_that_comes() -> None:
    storage = RuntimeStorage()
    plan = await planned(storage, "drop-letters", {"all": "yes"})
    await storage.register(SHARD, Registration([Entry("7", 0, [b"[1]"])]))
    await storage.drop(SHARD, "7", Cause("bob", "late"))
    async for _ in carry_out(plan.act, ActionContext(storage)):
        pass

    assert (plan.total, len(await storage.dead(SHARD))) == (0, 1)


MANY = [
    *[(action, {}) for action in ("replay-tail", "drop-letters", "cancel", "run-delayed")],
    ("move-delayed", {"at": LATER}),
    ("drop-requests", {"thread": "7"}),
]
"""Acts on some of many, with what else they need."""


@pytest.mark.parametrize(("action", "said"), MANY)
@pytest.mark.parametrize("which", [{}, {"all": "yes", "numbers": "1"}], ids=["none", "all and one"])
async def test_what_is_meant_has_to_be_said(action: str, said: dict[str, str], which: dict[str, str]) -> None:
    with pytest.raises(NotPossible, match="by their numbers, or all of them"):
        await planned(await filled(), action, said | which)


@pytest.mark.parametrize(("action", "said"), MANY)
@pytest.mark.parametrize("number", ["", "x", "-1:2:3:4", "1:x", "é", "٣", "9" * 40, "1\n"])
async def test_a_number_that_is_none_is_refused(action: str, said: dict[str, str], number: str) -> None:
    with pytest.raises(BadField, match="is not NUMBER"):
        await planned(await filled(), action, said | {"numbers": number})


@pytest.mark.parametrize(("action", "said"), MANY[:-1])
async def test_numbers_of_several_shards_are_said_with_their_shard(action: str, said: dict[str, str]) -> None:
    storage, handler = await filled(), Named(HANDLER.name, 4)
    with pytest.raises(NotPossible, match="say SHARD:NUMBER, or all"):
        await planned(storage, action, said | {"numbers": "1"}, handler)
    with pytest.raises(NotPossible, match="has no shard 4"):
        await planned(storage, action, said | {"numbers": "4:1"}, handler)
    assert (await planned(storage, action, said | {"numbers": "3:1"}, handler)).total == 1


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("pause", {"thread": "gone"}),
        ("resume", {"thread": "gone"}),
        ("drop-requests", {"thread": "gone", "all": "yes"}),
        ("unschedule", {"schedule": "gone"}),
        ("run-schedule", {"schedule": "gone"}),
        ("edit-schedule", {"schedule": "gone", "timing": "every 60 s"}),
        ("edit-schedule", {"schedule": "nightly", "timing": "hourly"}),
        ("move-delayed", {"all": "yes", "at": "2020-01-31T09:00:00Z"}),
        ("move-delayed", {"all": "yes", "at": "soon"}),
        ("reshard", {"threads": "0"}),
        ("reshard", {"threads": "٣"}),
        ("replay-tail", {"numbers": "1", "text": "sought"}),
        ("drop-letters", {"all": "yes", "reason": "two\nlines"}),
        ("drop-requests", {"thread": "7", "all": "yes", "reason": "x" * 501}),
    ],
)
async def test_what_cannot_be_done_is_refused_and_nothing_is_written(action: str, said: dict[str, str]) -> None:
    storage = await filled()
    before = await state_of(storage)
    with pytest.raises(NotPossible):
        await planned(storage, action, said)

    assert await state_of(storage) == before


async def test_a_program_sees_and_does_what_commands_and_pages_do() -> None:
    storage = await filled()
    admin = Admin(storage)
    found = await admin.letters(HANDLER.name, error="closed", thread="5")
    act = ReplayLetters(handler=admin.named(HANDLER.name), is_all=True, of_thread="5", head=True)
    plan, settled = await admin.plan(act), await admin.do(act)

    assert (await admin.state(HANDLER.name)).depth == 3 + 3 + 1 + 3 + 1 + 1 + 4
    assert (await admin.explain(HANDLER.name, "4")).is_paused
    assert [bytes(each.request) for each in await admin.peek(HANDLER.name, "5")] == [b"[50]", b"[51]", b"[52]", b"[1]"]
    assert sorted(each.number for each in found) == sorted(settled.done)
    assert plan.question == "Replay 3 dead letters of shop.Charge of thread '5'?"
    assert [each.due_at[:10] for each in await admin.delayed(HANDLER.name, count=1)]
    assert [each.name for each in await admin.schedules(HANDLER.name)] == ["nightly"]
    assert [each.thread for each in await admin.paused(HANDLER.name)] == ["4"]
    assert await admin.workers(HANDLER.name) == []
    with pytest.raises(NotPossible, match="has no thread 'gone'"):
        await admin.do(Pause(handler=HANDLER, thread="gone"))


@pytest.mark.parametrize("thread", ["a\nb", "\u202e", "x" * 257, ""])
async def test_a_thread_that_no_request_can_have_is_not_paused(thread: str) -> None:
    storage = await filled()
    with pytest.raises(RouteError):
        await planned(storage, "pause", {"thread": thread, "force": "yes"})


@pytest.mark.parametrize(("page", "text"), [pytest.param(*each, id=each[0].name) for each in manual()])
def test_the_manual_says_of_acts_what_their_definitions_say(page: Path, text: str) -> None:
    assert page.read_text() == text, "make acts"


def test_the_manual_names_every_act() -> None:
    texts = "".join(text for _, text in manual())
    assert [name for name in ACTS if f"`{name} HANDLER" not in texts or f"`{name}`" not in texts] == []
