"""Acts of people: what holds of each of them, in a terminal as on a page."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis
from starlette.datastructures import QueryParams

from sharded_queue import RedisStorage
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.cli.program import main
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue.web.actions import ACTIONS, Desk, Proposal
from tools.redis_server import Ask

pytestmark = pytest.mark.redis

HANDLER = "shop.Charge"
SHARD = Shard(HANDLER)
ACTS: Sequence[tuple[str, dict[str, str]]] = [
    (f"pause {HANDLER}", {"action": "pause"}),
    (f"pause {HANDLER} 7", {"action": "pause", "thread": "7"}),
    (f"resume {HANDLER}", {"action": "resume"}),
    (f"resume {HANDLER} 7", {"action": "resume", "thread": "7"}),
]
"""Acts as they are typed, and as the form of the page that asks for the same."""


def typed(words: str, *more: str) -> Result:
    return CliRunner().invoke(main, [*words.split(), *more])


@pytest.fixture(autouse=True)
def filled(ask: Ask) -> None:
    """A thread with requests."""

    async def fill(redis: Redis) -> None:
        await RedisStorage(redis).register(SHARD, Registration([Entry("7", 0, [b"[1]", b"[2]", b"[3]"])]))

    ask(fill)


def dump(ask: Ask) -> dict[bytes, bytes]:
    async def dumped(redis: Redis) -> dict[bytes, bytes]:
        return {key: cast("bytes", await redis.dump(key)) for key in await redis.keys()}

    return ask(dumped)


async def asked(redis: Redis, form: dict[str, str]) -> Proposal:
    """What the page asks."""
    desk = Desk(RedisStorage(redis), lambda name: Named(name, 1), Bodies())
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
