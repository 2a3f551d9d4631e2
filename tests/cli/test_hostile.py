"""Hostile names, requests, headers and errors through every command, log and metric: nothing raw comes out of any."""

import json
import logging
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, RedisStorage, Retry, Worker, logs, settings
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.cli.program import main
from sharded_queue.coordinator import BindRequest
from sharded_queue.monitoring import metrics
from sharded_queue.serializer import pack
from sharded_queue.storage import Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Shard
from tools import acts
from tools.redis_server import Ask

pytestmark = pytest.mark.redis

SHARD = Shard("evil.Handler")
PARTS = (
    *("\x1b]0;title\x07", "\x1b[2J", "\x1b[31m", "\n2026-01-01T00:00:00.000Z ERROR forged", "\r", "\t", "\x00", "\x7f"),
    *(
        "\x9b31m",
        "\u202e",
        "\u2066",
        "\u2028",
        "\x85",
        "\ufeff",
        "\U000e0041",
        "{",
        "}",
        '"',
        "\\",
        "'",
        "%s",
        "[bold]",
    ),
    *("日本", "é", "🚚", "e\u0301", "a" * 50, " ", "/", ":", "0"),
)
SCHEMA = acts.schema()
VALIDATORS = {
    command: Draft202012Validator({**SCHEMA, "$ref": f"#/commands/{command.replace(' ', '%20')}"})
    for command in SCHEMA["commands"]
}


def hostile(chance: random.Random, bytes_at_most: int = 200) -> str:
    """Some parts in a row; always with one that is not printable."""
    text = "".join(chance.choices(PARTS, k=6)) + chance.choice(PARTS[:8])
    return text.encode()[:bytes_at_most].decode(errors="ignore")


async def fill(redis: Redis, chance: random.Random, thread: str) -> None:
    """All that a hostile producer and a hostile worker can leave behind with our own scripts, and some by hand."""
    storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
    coordinator.attach(storage)

    def body() -> bytes:
        return pack(json.dumps([hostile(chance)]).encode(), {hostile(chance): hostile(chance)})

    await storage.register(SHARD, Registration([Entry(hostile(chance), 0, [body(), b"\xff\x1b[2J", body()])]))
    (dying,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))).batches
    await storage.fail(Failure(dying.lease, 0, dying.first, 3, hostile(chance), traceback=hostile(chance)))
    await coordinator.release([dying.lease])
    (held,) = (
        await coordinator.bind(SHARD, BindRequest(re.sub(r"\s", "", hostile(chance)) + "/x", 1, 1, 15.0))
    ).batches
    await storage.register(SHARD, Registration([Entry(thread, 0, [body(), body()])]))
    await storage.register(SHARD, Registration([Entry(hostile(chance), 0, [body()])], delay_seconds=60))
    await storage.schedule(SHARD, Schedule(hostile(chance), every(60), thread, 0, body()))
    await storage.register(SHARD, Registration([Entry(paused := hostile(chance), 0, [body()])]))
    await storage.pause(SHARD, paused, True)
    await storage.register(Shard(f"evil{hostile(chance)}".replace("}", "")), Registration([Entry(thread, 0, [body()])]))
    assert held


def typed(*words: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, words)


def harmless(said: Result, words: Sequence[str]) -> None:
    assert said.exception is None or isinstance(said.exception, SystemExit), (words, said.exception)
    assert "Traceback (most recent" not in said.output, words
    for line in said.output.split("\n"):
        assert line.isprintable(), (words, line)


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_a_terminal_obeys_comes_out_of_any_command(ask: Ask, seed: int, columns: int) -> None:
    chance = random.Random(seed)
    thread = hostile(chance)
    ask(lambda redis: fill(redis, chance, thread))
    name, wrong = SHARD.handler, hostile(chance)
    every_command = [
        ["threads", "--all"],
        ["threads", name],
        ["lag", "--all"],
        ["workers", "--all"],
        ["explain", name, thread],
        ["explain", name, wrong],
        ["explain", wrong, thread],
        ["peek", name, thread],
        ["peek", name, thread, "7"],
        ["dead", "list", name],
        ["dead", "replay", name, "99"],
        ["schedules", "list", name],
        ["schedules", "edit", name, wrong, "--every", "60"],
        ["schedules", "edit", name, wrong, "--cron", wrong],
        ["schedules", "run", name, wrong],
        ["schedules", "remove", name, wrong],
        ["delayed", "list", name],
        ["delayed", "cancel", name, "99"],
        ["paused", "--all"],
        ["pause", name, thread],
        ["paused", name],
        ["pause", name, wrong],
        ["resume", name, wrong],
        ["resume", name, thread],
        ["reshard", name],
        ["reshard", wrong],
        ["drop", name, thread, "--all", "--yes", "--reason", "why", "--by", "ann"],
        ["drop", name, thread, "--all", "--yes", "--reason", wrong],
        ["dropped", name],
        ["check", name],
        ["check", wrong],
        ["dead", "drop", name, "--all", "--text", wrong, "--of-thread", thread, "--reason", "why", "--dry-run"],
        ["dead", "drop", wrong, "--all", "--reason", "why", "--yes"],
        ["dead", "drop", name, wrong, "--reason", wrong],
        ["drop", name, thread, "--all", "--reason", "why", "--dry-run"],
        ["drop", name, thread, wrong, "--reason", "why"],
        ["dead", "drop", name, "--all", "--reason", "why", "--yes"],
        ["delayed", "move", name, "99", "--at", wrong],
        ["delayed", "move", name, "--all", "--in", "60"],
        ["delayed", "run", name, "99"],
        ["delayed", "cancel", name, "--all"],
        ["check", name, "--repair"],
        ["worker", wrong.replace("\x00", "")],
    ]
    for words in every_command:
        harmless(typed(*words, columns=columns), words)
        if words[0] != "worker":
            said = typed(*words, "--json", columns=columns)
            harmless(said, words)
            answered = "--dry-run" if "--dry-run" in words else command_of(words)
            for line in said.stdout.splitlines():
                VALIDATORS[answered].validate(json.loads(line))


def command_of(words: Sequence[str]) -> str:
    return " ".join(words[:2]) if words[0] in ("dead", "schedules", "delayed") else words[0]


class Written(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.forms = (logs.Text(), logs.Json())
        self.addFilter(logs.label)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [form.format(record) for form in self.forms]


@pytest.fixture
def written() -> Iterator[Written]:
    handler = Written()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("seed", range(3))
def test_logs_and_metrics_of_a_worker_carry_nothing_raw(ask: Ask, written: Written, seed: int) -> None:
    chance = random.Random(seed)

    class Evil(Handler):
        name, retry = SHARD.handler, Retry(1, 0, 0)

        async def perform(self, *requests: Any) -> None:
            logging.getLogger("theirs").error("%s", hostile(chance))
            raise ValueError(hostile(chance))

    async def serve(redis: Redis) -> bytes:
        storage = RedisStorage(redis)
        for _ in range(3):
            body = pack(b'{"a":1', {hostile(chance): "x"}) if chance.random() < 0.3 else b"[1]"
            await storage.register(SHARD, Registration([Entry(hostile(chance), 0, [body])]))
        worker = Worker(RedisCoordinator(redis), Queue(storage), handlers=[Evil])
        await worker.loop(3)
        await storage.register(SHARD, Registration([Entry(hostile(chance), 0, [b"[1]"])]))
        return await metrics.exposition(worker, [SHARD])

    settings.worker_empty_limit = 1
    exposed = ask(serve).decode()

    lines = [line for text in written.texts for line in text.split("\n")]
    assert any("dead letters" in line for line in lines)
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
    assert all(line.isprintable() for line in exposed.split("\n"))
    assert list(text_string_to_metric_families(exposed))


def test_every_command_with_json_has_its_schema() -> None:
    with_json = {name for name, command in commands(main) if "--json" in options(command)}

    assert {*with_json, "--dry-run"} == set(SCHEMA["commands"])


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", sorted(name for name, _ in commands(main)))
def test_the_help_of_each_command_fits_the_terminal(name: str, columns: int) -> None:
    said = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=columns, max_content_width=columns)

    assert said.exit_code == 0
    assert all(len(line) <= columns for line in said.output.splitlines())
