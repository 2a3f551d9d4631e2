"""Acts of people: what holds of each of them, in a terminal as on a page."""

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis
from starlette.datastructures import QueryParams

from sharded_queue import RedisStorage
from sharded_queue.admin.acts import ActionContext
from sharded_queue.admin.handlers import Named
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.cli.program import main
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard
from sharded_queue.web.actions import ACTIONS, Desk, Proposal
from tools.redis_server import Ask

pytestmark = pytest.mark.redis

HANDLER = "shop.Charge"
SHARD = Shard(HANDLER)
LATER = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
ACTS: Sequence[tuple[str, dict[str, str]]] = [
    (f"pause {HANDLER}", {"action": "pause"}),
    (f"pause {HANDLER} 7", {"action": "pause", "thread": "7"}),
    (f"resume {HANDLER}", {"action": "resume"}),
    (f"resume {HANDLER} 7", {"action": "resume", "thread": "7"}),
    (f"reshard {HANDLER} 8", {"action": "reshard", "threads": "8"}),
    (f"dead replay {HANDLER} 1", {"action": "replay-tail", "numbers": "1"}),
    (f"dead replay {HANDLER} --all --error decl --head", {"action": "replay-head", "all": "yes", "error": "decl"}),
    (f"dead drop {HANDLER} --all --reason why", {"action": "drop-letters", "all": "yes"}),
    (f"delayed cancel {HANDLER} --all", {"action": "cancel", "all": "yes"}),
    (f"delayed run {HANDLER} 0:1", {"action": "run-delayed", "numbers": "0:1"}),
    (f"delayed move {HANDLER} --all --at {LATER}", {"action": "move-delayed", "all": "yes", "at": LATER}),
    (f"schedules run {HANDLER} nightly", {"action": "run-schedule", "schedule": "nightly"}),
    (f"schedules remove {HANDLER} nightly", {"action": "unschedule", "schedule": "nightly"}),
    (
        f"schedules edit {HANDLER} nightly --cron '0 3 * * *'",
        {"action": "edit-schedule", "schedule": "nightly", "timing": "cron 0 3 * * * in UTC"},
    ),
    (f"drop {HANDLER} 7 --all --reason why", {"action": "drop-requests", "thread": "7", "all": "yes"}),
]
"""Acts as they are typed, and as the form of the page that asks for the same."""


def typed(words: str, *more: str) -> Result:
    return CliRunner().invoke(main, [*shlex.split(words), *more])


@pytest.fixture(autouse=True)
def filled(ask: Ask) -> None:
    """Requests that wait, one of them by key, a dead letter, a delayed request and a schedule."""

    async def fill(redis: Redis) -> None:
        storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
        coordinator.attach(storage)
        await storage.register(SHARD, Registration([Entry("7", 0, [b"[1]", b"[2]", b"[3]"])]))
        (batch,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))).batches
        await storage.fail(Failure(batch.lease, 0, batch.first, 1, "ValueError: declined"))
        await coordinator.release([batch.lease])
        await storage.register(SHARD, Registration([Entry("8", 0, [b"[4]"])], delay_seconds=600))
        await storage.register(SHARD, Registration([Entry("1:0", 0, [b"[5]"])], layout=Layout(1, 2)))
        await storage.schedule(SHARD, Schedule("nightly", every(86_400), "9", 0, b"[6]"))

    ask(fill)


def dump(ask: Ask) -> dict[bytes, bytes]:
    async def dumped(redis: Redis) -> dict[bytes, bytes]:
        return {key: cast("bytes", await redis.dump(key)) for key in await redis.keys()}

    return ask(dumped)


async def asked(redis: Redis, form: dict[str, str]) -> Proposal:
    """What the page asks."""
    desk = Desk(ActionContext(RedisStorage(redis)), lambda name: Named(name, 1))
    return await ACTIONS[form["action"]].ask(desk, QueryParams({"handler": HANDLER} | form))


@pytest.mark.parametrize(("words", "form"), ACTS)
def test_a_plan_writes_nothing_and_is_what_the_page_asks(ask: Ask, words: str, form: dict[str, str]) -> None:
    before = dump(ask)
    said = typed(words, "--dry-run", "--json")
    proposal: Any = ask(lambda redis: asked(redis, form))

    assert said.exit_code == 0, said.output
    assert dump(ask) == before
    assert json.loads(said.stdout) | {"total": 0} == {
        "question": proposal.question,
        "effect": proposal.effect,
        "total": 0,
    }
    assert typed(words, "--dry-run").stdout == f"{proposal.question} {proposal.effect}\n"
