"""`sharded-queue run` as docs/kubernetes.md has it: its own Redis, real processes, and a summary that was checked."""

import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.cli_process import CliProcess
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "notifications"
FILE = "shardedqueue.yaml"
FEW = "python -m notifications --requests 120 --seconds 0.5"

SOME_BOUND = re.compile(r"\([1-9]\d* bound\)")

LONG = """
import asyncio
from typing import NamedTuple

from sharded_queue import Handler, Queue, RedisStorage, Route, connect


class Job(NamedTuple):
    thread: str
    seconds: float


class LongHandler(Handler):
    name = "long.Handler"

    @classmethod
    async def route(cls, *jobs: Job) -> list[Route]:
        return [Route(thread=job.thread) for job in jobs]

    async def perform(self, *jobs: Job) -> None:
        for job in jobs:
            with open("begun.txt", "a") as begun:
                print(job.thread, file=begun)
        await asyncio.sleep(sum(job.seconds for job in jobs))


async def register() -> None:
    jobs = [Job(f"{number} {kind}", seconds) for number in range(6) for kind, seconds in (("long", 14), ("short", 5))]
    await Queue(RedisStorage(connect())).register(LongHandler, *jobs)
"""
LONG_FILE = """
apiVersion: shardedqueue.dev/v1alpha1
kind: ShardedQueue
metadata:
  name: long
  annotations: {shardedqueue.dev/producer: 'python -c "import asyncio, long; asyncio.run(long.register())"'}
spec:
  redis: {addresses: ["redis:6379"]}
  handlers: [{name: long.Handler, microsecondsPerRequest: 5000000}]
  worker: {image: none, modules: [long]}
  scaling: {maxReplicas: 6, threadsPerReplica: 2, targetDrainSeconds: 1, scaleDownStabilizationSeconds: 1}
  drain: {timeoutSeconds: 1}
"""

Start = Callable[..., CliProcess]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The example in a folder of its own, so that tests may change it."""
    require_redis()
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "example"


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    programs: list[CliProcess] = []

    def started(*words: str) -> CliProcess:
        programs.append(CliProcess("run", *words, place=place))
        return programs[-1]

    yield started
    for program in programs:
        program.tell(signal.SIGTERM)
        program.process.wait(60)
        program.kill()


def port_of(program: CliProcess) -> int:
    return int(program.line("QUEUE_REDIS_ADDRESS=").partition("QUEUE_REDIS_ADDRESS=127.0.0.1:")[2].split()[0])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.redis
def test_run_handles_everything_in_order_and_leaves_nothing_behind(start: Start) -> None:
    run = start(FILE, "--produce", FEW)
    port = port_of(run)

    assert run.ended() == 0, run.text
    assert "ScaledUp" in run.text
    assert run.line("handled  ").startswith("handled     120 requests; 0 wait, 0 in the dead letters")
    assert "order       kept in all " in run.text
    assert " tubes, by a journal of 120 requests" in run.text
    assert run.line("duplicates").split() == ["duplicates", "0"]
    assert run.line("lost").split() == ["lost", "0"]
    assert not is_open(port)


@pytest.mark.redis
def test_a_request_longer_than_the_drain_survives_a_scale_down(start: Start, place: Path) -> None:
    """Twelve requests need six workers and the six long ones three: one of these was begun three times."""
    (place / "long.py").write_text(LONG)
    (place / "long.yaml").write_text(LONG_FILE)
    run = start("long.yaml")

    assert run.ended() == 0, run.text
    assert "workers 6  " in run.text
    begun = (place / "begun.txt").read_text().splitlines()
    assert sorted(begun) == sorted(set(begun))
    assert len(begun) == 12


@pytest.mark.redis
def test_ctrl_c_drains_and_the_next_run_starts_clean(start: Start) -> None:
    run = start(FILE)
    port = port_of(run)
    run.line(SOME_BOUND)
    run.tell(signal.SIGINT)

    assert run.ended() == 130, run.text
    assert "finishing what they have begun" in run.text
    assert "order       kept in all " in run.text
    assert run.line("duplicates").split() == ["duplicates", "0"]
    assert run.line("lost").split() == ["lost", "0"]
    assert "drained in  not yet" in run.text
    assert not is_open(port)

    again = start(FILE, "--produce", FEW)
    assert again.ended() == 0, again.text
    assert "handled     120 requests; 0 wait" in again.text


@pytest.mark.redis
def test_a_run_without_end_ends_well_by_ctrl_c(start: Start) -> None:
    run = start(FILE, "--forever", "--no-produce")
    run.line("AsWished")
    run.tell(signal.SIGINT)

    assert run.ended() == 0, run.text
    assert "order       not checked" in run.text


@pytest.mark.redis
def test_a_run_that_was_started_by_nohup_outlives_its_terminal(start: Start) -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what we ignore, a program that we start ignores too
    try:
        run = start(FILE, "--produce", FEW)
    finally:
        signal.signal(signal.SIGHUP, usual)
    run.line(SOME_BOUND)
    run.tell(signal.SIGHUP)

    assert run.ended() == 0, run.text


@pytest.mark.redis
def test_a_redis_of_the_users_is_used_and_left_without_a_journal(start: Start, redis_server: RedisServer) -> None:
    run = start(FILE, "--produce", FEW, "--redis", redis_server.address)

    assert run.ended() == 0, run.text
    assert f"QUEUE_REDIS_ADDRESS={redis_server.address}" in run.text
    assert "by a journal of 120 requests" in run.text
    assert redis_server.answers()


@pytest.mark.redis
def test_broken_order_is_found_and_is_no_success(start: Start, place: Path) -> None:
    """A handler that does a batch backwards: the engine cannot know, the journal does."""
    module = place / "notifications.py"
    right = 'await note("handled", requests)'
    assert right in module.read_text()
    module.write_text(module.read_text().replace(right, 'await note("handled", requests[::-1])'))
    run = start(FILE, "--produce", FEW)

    assert run.ended() == 1
    assert "order       BROKEN: " in run.text


@pytest.mark.redis
def test_workers_that_cannot_start_end_the_run_with_the_reason(start: Start, place: Path) -> None:
    file = place / FILE
    file.write_text(file.read_text().replace("modules: [notifications]", "modules: [notification]"))
    run = start(FILE, "--produce", FEW)

    assert run.ended() == 1
    assert "worker-1 ended with exit code 2: Error: no module 'notification'" in run.said[-1]


@pytest.mark.redis
def test_a_producer_that_fails_ends_the_run_with_the_reason(start: Start) -> None:
    run = start(FILE, "--produce", "python -m notifications --requests none")

    assert run.ended() == 1
    assert "ended with exit code 2" in run.said[-1]
    assert "'none' is not a valid integer" in run.said[-1]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nothing.yaml"], 2, "Error: nothing.yaml cannot be read: No such file or directory"),
        (["redis.yaml"], 2, "Error: redis.yaml contains no ShardedQueue, only Deployment, Service"),
        ([FILE, "--redis", "nowhere"], 2, "Error: redis_address 'nowhere' must be host:port"),
        ([FILE, "--redis", "127.0.0.1:1"], 1, "Error: Redis at 127.0.0.1:1: no answer"),
    ],
)
def test_what_cannot_run_is_told_in_a_sentence(start: Start, words: list[str], code: int, sentence: str) -> None:
    run = start(*words)

    assert run.ended() == code
    assert run.said[-1].startswith(sentence)
