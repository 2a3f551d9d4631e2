"""Two handlers of one module, each with workers of its own, as docs/kubernetes.md prints them."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharded_queue import RedisStorage
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue_operator.resource.deployment import deployment
from sharded_queue_operator.resource.spec import parsed
from tests.harness.cli_process import CommandProcess
from tests.harness.pages import blocks
from tools.redis_server import Ask, RedisServer

PAGE = "kubernetes.md"
NAMES = ("mail", "render")


def of_resources() -> dict[str, dict[str, str]]:
    """The variables of the workers of each ShardedQueue."""
    documents = [each for block in blocks(PAGE, "yaml") for each in yaml.safe_load_all(block)]
    named = [each for each in documents if each.get("metadata", {}).get("name") in NAMES]
    return {each["metadata"]["name"]: environment_of(each) for each in named}


def environment_of(document: Mapping[str, Any]) -> dict[str, str]:
    metadata = {"namespace": "default", "uid": "1", "generation": 1} | document["metadata"]
    pod = deployment(parsed({**document, "metadata": metadata}), 1)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["shop"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def of_commands() -> dict[str, dict[str, str]]:
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if "sharded-queue worker shop" in line]
    split = [dict(word.split("=") for word in shlex.split(line) if "=" in word) for line in lines]
    return dict(zip(NAMES, split, strict=True))


def test_both_ways_say_the_same_of_the_workers() -> None:
    told = {name: {key: each[key] for key in of_commands()[name]} for name, each in of_resources().items()}

    assert told == of_commands()


@pytest.fixture
def workers(tmp_path: Path, ask: Ask, redis_server: RedisServer) -> Iterator[dict[str, CommandProcess]]:
    (module,) = blocks(PAGE, "python")
    (tmp_path / "shop.py").write_text(module)
    words = [sys.executable, "-m", "sharded_queue", "worker", "shop"]
    ours = {"QUEUE_REDIS_ADDRESS": redis_server.address, "QUEUE_METRICS_PORT": "0"}
    with ExitStack() as ending:
        started = {
            name: CommandProcess(words, place=tmp_path, environment=variables | ours)
            for name, variables in of_commands().items()
        }
        for each in started.values():
            ending.callback(each.kill)
        yield started


@pytest.mark.redis
def test_each_worker_serves_its_handler_and_leaves_the_other_alone(
    ask: Ask, workers: dict[str, CommandProcess]
) -> None:
    for number in range(5):
        for handler in ("shop.Mail", "shop.Render"):
            entry = Entry(str(number), 0, [b'"%d"' % number])
            ask(
                lambda redis, handler=handler, entry=entry: RedisStorage(redis).register(
                    Shard(handler), Registration([entry])
                )
            )
    for name, worker in workers.items():
        worker.line(f"{name} ", times=5)

    for name, worker in workers.items():
        said = [line for line in worker.said if line.startswith(NAMES)]
        assert sorted(said) == [f"{name} {number}" for number in range(5)]
