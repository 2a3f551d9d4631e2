"""Acts of people: what holds of each of them, in a terminal as on a page."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis
from starlette.datastructures import QueryParams

from sharded_queue import Admin, RedisStorage
from sharded_queue.admin.acts import ActionContext
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.letters import ReplayLetters
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.cli.program import main
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Cause, Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard
from sharded_queue.web.actions import ACTIONS, Desk, Proposal
from tools.redis_server import Ask, RedisServer

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


# The names of tests must be those of the other processes, which may read the clock a second later.
@pytest.mark.parametrize(("words", "form"), ACTS, ids=[words.replace(LATER, "LATER") for words, _ in ACTS])
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


def test_the_letters_of_a_search_are_read_once(ask: Ask) -> None:
    act = ReplayLetters(handler=Named(HANDLER, 1), is_all=True, error="declined")

    async def do(redis: Redis) -> tuple[list[int], int]:
        before = await redis.info("commandstats")
        settled = await Admin(RedisStorage(redis)).do(act)
        after = await redis.info("commandstats")
        name = "cmdstat_zscan"
        return settled.done, after[name]["calls"] - before.get(name, {"calls": 0})["calls"]

    assert ask(do) == ([1], 1)


LETTERS = 2_000
"""Of one thread: four steps of a replay to the head, between which the thread is paused."""


async def die_all(redis: Redis) -> None:
    bodies = [b"[%d]" % number for number in range(LETTERS)]
    await RedisStorage(redis).register(SHARD, Registration([Entry("many", 0, bodies)]))
    await RedisStorage(redis).drop(SHARD, "many", Cause("bob", "closed"))
    await RedisStorage(redis).register(SHARD, Registration([Entry("many", 0, [b"[%d]" % LETTERS])]))


async def bind_some(redis: Redis) -> list[str]:
    """The threads that a worker gets now, which gives them back at once."""
    coordinator = RedisCoordinator(redis)
    coordinator.attach(RedisStorage(redis))
    batches = (await coordinator.bind(SHARD, BindRequest("w/2", 10, 1, 15.0))).batches
    await coordinator.release([batch.lease for batch in batches])
    return [batch.lease.thread for batch in batches]


@pytest.mark.parametrize("steps", range(1, 4))
def test_a_replay_to_the_head_that_is_killed_is_finished_by_typing_it_again_and_keeps_the_order(
    ask: Ask, redis_server: RedisServer, steps: int
) -> None:
    ask(die_all)
    words = [sys.executable, "-m", "sharded_queue", "dead", "replay", HANDLER, "--all", "--head", "--of-thread", "many"]
    environment = {**os.environ, "QUEUE_REDIS_ADDRESS": redis_server.address}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as replay:
        assert replay.stderr
        for _ in range(steps):
            assert "of 2,000 dead letters" in replay.stderr.readline()
        replay.kill()
    said = typed(f"explain {HANDLER} many").output
    is_over = "is paused" not in said

    assert is_over or "its dead letters are being put back at its head" in said
    assert ("many" in ask(bind_some)) == is_over
    assert typed(f"dead replay {HANDLER} --all --head --of-thread many").exit_code == int(is_over)  # nothing is left
    assert "many" in ask(bind_some)
    waiting = typed(f"peek {HANDLER} many --all --json").stdout.splitlines()
    assert [json.loads(line)["request"] for line in waiting] == [[number] for number in range(LETTERS + 1)]
