"""`sharded-queue` as a user types it: real processes, a real Redis, exit codes and sentences."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from sharded_queue import (
    Handler,
    NotPossible,
    Queue,
    RedisStorage,
    Route,
    RuntimeCoordinator,
    RuntimeStorage,
    ShardedQueueError,
    Worker,
    settings,
)
from sharded_queue.admin import handlers as naming
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.cli import program
from sharded_queue.cli.commands.worker import serving_http
from sharded_queue.coordinator import BindRequest
from sharded_queue.monitoring.health import Health
from sharded_queue.settings import Settings
from sharded_queue.state import ShardState
from sharded_queue.storage import Failure
from sharded_queue.tube import Shard
from tests.harness.certificates import Authority, TlsServer
from tests.harness.cli_process import CliProcess
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

T = TypeVar("T")
SHARD = Shard("jobs.Job")
SECONDS = 20

JOBS = '''
from dataclasses import replace

from sharded_queue import Handler
from sharded_queue.backends.redis.client import RedisOptions, connect

redis = connect(replace(RedisOptions.from_settings(), timeout_seconds=300))  # its BLPOP waits as long as the test does

class Job(Handler):
    """Says when a batch begins, waits until it may go on, and says what it did."""

    async def perform(self, *requests: int) -> None:
        await redis.rpush("begun", len(requests))
        await redis.blpop("go", 0)
        await redis.rpush("done", *requests)
'''

Start = Callable[..., CliProcess]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("raise ValueError('out of order')")
    (tmp_path / "lacking.py").write_text("import nowhere_to_be_found")
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    programs: list[CliProcess] = []

    def started(*words: str, **environment: str) -> CliProcess:
        environment = {"QUEUE_METRICS_PORT": "0", "QUEUE_WORKER_BATCH_SIZE": "10", **environment}
        programs.append(CliProcess(*words, place=place, environment=environment))
        return programs[-1]

    yield started
    for each in programs:
        each.kill()


@pytest.fixture
def redis(own_redis: Callable[..., RedisServer]) -> RedisServer:
    return own_redis()


@pytest.fixture
def jobs() -> type[Handler]:
    class Job(Handler):
        name = "jobs.Job"

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(thread="one")] * len(requests)

        async def perform(self, *requests: int) -> None: ...

    return Job


def ask(server: RedisServer, question: Callable[[Any], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Redis(host="127.0.0.1", port=server.port, decode_responses=True) as client:
            return await question(client)

    return asyncio.run(asked())


def register(server: RedisServer, handler: type[Handler], *requests: int) -> None:
    ask(server, lambda client: Queue(RedisStorage(client)).register(handler, *requests))


def state(server: RedisServer) -> ShardState:
    return ask(server, lambda client: RedisStorage(client).observe([SHARD]))[0]


def begun(server: RedisServer) -> int:
    """Wait until a batch is in its handler."""
    popped = ask(server, lambda client: client.blpop("begun", SECONDS))
    assert popped, "no batch began"
    return int(popped[1])


def let_go(server: RedisServer) -> None:
    ask(server, lambda client: client.rpush("go", "1"))


def done(server: RedisServer) -> list[int]:
    return [int(number) for number in ask(server, lambda client: client.lrange("done", 0, -1))]


# A worker that is told to stop


@pytest.mark.redis
def test_sigterm_finishes_the_batch_and_hands_the_rest_on(
    redis: RedisServer, start: Start, jobs: type[Handler]
) -> None:
    register(redis, jobs, *range(25))
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS=redis.address)
    assert begun(redis) == 10

    worker.tell(signal.SIGTERM)
    worker.line("SIGTERM: finishing")
    let_go(redis)

    assert worker.ended() == 0
    assert done(redis) == list(range(10))
    left = state(redis)
    assert (left.depth, left.bound, left.ready) == (15, 0, 1)

    second = start("worker", "jobs", QUEUE_REDIS_ADDRESS=redis.address)
    for size in (10, 5):
        assert begun(redis) == size
        let_go(redis)
    second.tell(signal.SIGTERM)
    assert second.ended() == 0
    assert done(redis) == list(range(25))


@pytest.mark.redis
def test_a_second_signal_gives_the_batch_up(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    register(redis, jobs, *range(5))
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS=redis.address)
    begun(redis)

    worker.tell(signal.SIGTERM)
    worker.line("SIGTERM: finishing")
    worker.tell(signal.SIGTERM)

    assert worker.ended() == 0
    assert done(redis) == []
    left = state(redis)
    assert (left.depth, left.bound, left.ready) == (5, 0, 1)


@pytest.mark.redis
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_at_once(redis: RedisServer, start: Start, number: signal.Signals) -> None:
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS=redis.address)
    worker.line("serving jobs.Job")

    worker.tell(number)

    assert worker.ended() == 0
    worker.line("stopped after 0 requests")


# A worker that cannot serve


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("nowhere", "no module 'nowhere'"),
        ("jobs.nowhere", "no module 'jobs.nowhere'"),
        ("jobs.Job", "no module 'jobs.Job' in .*; did you mean 'jobs'?"),
        ("brokn", "no module 'brokn' in .*; did you mean 'broken'?"),
        ("lacking", "module 'lacking' needs 'nowhere_to_be_found', which is not installed"),
        ("broken", "module 'broken' cannot be imported: ValueError: out of order"),
    ],
)
def test_a_module_that_cannot_be_had_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, module: str, complaint: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "jobs", raising=False)

    with pytest.raises(NotPossible, match=complaint):
        naming.import_all([module])


@pytest.mark.parametrize(
    ("words", "environment", "complaint"),
    [
        (["empty"], {}, "empty defines no handler"),
        (["jobs"], {"QUEUE_WORKER_HANDLERS": "jobs.Jib"}, "no handler is named 'jobs.Jib'; known here: jobs.Job"),
        ([], {}, "Missing argument 'MODULE...'"),
    ],
)
def test_words_that_make_no_sense_are_named(
    start: Start, words: list[str], environment: dict[str, str], complaint: str
) -> None:
    worker = start("worker", *words, **environment)

    assert worker.ended() == 2
    assert complaint in worker.said[-1]


def test_a_setting_that_makes_no_sense_is_named(start: Start) -> None:
    worker = start("worker", "jobs", QUEUE_WORKER_BATCH_SIZE="0")

    assert worker.ended() == 2
    (sentence,) = worker.said
    assert sentence.startswith("Error: QUEUE_WORKER_BATCH_SIZE (settings.worker_batch_size) = '0'")


def test_a_worker_warns_of_a_variable_that_is_nearly_a_setting_and_of_no_other(start: Start) -> None:
    wrong = {"QUEUE_WORKER_BATCHSIZE": "1", "QUEUE_NAME": "orders", "QUEUE_PORT": "tcp://10.0.0.1:6379"}
    worker = start("worker", "jobs", "--log-format", "json", QUEUE_REDIS_ADDRESS="127.0.0.1:1", **wrong)
    worker.line("/metrics")

    (warning,) = [json.loads(line) for line in worker.said if "WARNING" in line and "no setting" in line]
    assert "did you mean QUEUE_WORKER_BATCH_SIZE" in warning["message"]


def test_a_command_that_reads_warns_of_it_too(start: Start) -> None:
    reading = start(
        "tubes", "a.B", QUEUE_REDIS_ADRESS="far:1", QUEUE_REDIS_ADDRESS="127.0.0.1:1", QUEUE_REDIS_TIMEOUT="0.1"
    )

    assert reading.ended() == 1
    assert reading.said[0].startswith("Warning: there is no setting QUEUE_REDIS_ADRESS")


@pytest.mark.parametrize(
    ("words", "environment"), [(["--log-level", "warning"], {}), ([], {"QUEUE_LOG_LEVEL": "warning"})]
)
def test_the_level_of_the_log_is_chosen_by_flag_or_variable(
    start: Start, words: list[str], environment: dict[str, str]
) -> None:
    worker = start(
        "worker", "jobs", *words, QUEUE_REDIS_ADDRESS="127.0.0.1:1", QUEUE_REDIS_TIMEOUT="0.2", **environment
    )
    worker.line("retrying")

    assert all(" WARNING [" in line for line in worker.said)


def test_the_installed_program_names_it_in_one_sentence_too() -> None:
    program = Path(sys.executable).with_name("sharded-queue")
    wrong = {**os.environ, "QUEUE_WORKER_CONCURRENCY": "none"}
    ended = subprocess.run([program, "tubes"], env=wrong, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("Error: QUEUE_WORKER_CONCURRENCY (settings.worker_concurrency) = 'none'")


def test_who_imports_the_library_gets_an_exception() -> None:
    program = "try:\n    import sharded_queue\nexcept ValueError as error:\n    print('caught', error)"
    wrong = {**os.environ, "QUEUE_WORKER_CONCURRENCY": "none"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=wrong, capture_output=True, text=True, timeout=SECONDS, check=True
    )

    assert ended.stdout.startswith("caught QUEUE_WORKER_CONCURRENCY")


@pytest.mark.redis
def test_refused_credentials_end_a_worker(redis: RedisServer, start: Start) -> None:
    ask(redis, lambda client: client.config_set("requirepass", "right"))
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS=redis.address, QUEUE_REDIS_PASSWORD="mistaken")

    assert worker.ended() == 1
    assert f"Redis at {redis.address}: Redis refused" in worker.said[-1]
    assert "mistaken" not in worker.text


@pytest.mark.redis
def test_a_worker_verifies_the_certificate_of_redis(start: Start, tmp_path: Path) -> None:
    require_redis()
    server = TlsServer(tmp_path / "tls", Authority(tmp_path / "authority"))
    server.start()
    other = Authority(tmp_path / "other").file
    address = {"QUEUE_REDIS_ADDRESS": f"localhost:{server.port}", "QUEUE_REDIS_TIMEOUT": "1"}
    try:
        trusting = start(
            "worker", "jobs", QUEUE_REDIS_TLS="Verify", QUEUE_REDIS_TLS_CA=str(server.authority.file), **address
        )
        trusting.line("serving jobs.Job")
        wary = start("worker", "jobs", QUEUE_REDIS_TLS="Verify", QUEUE_REDIS_TLS_CA=str(other), **address)
        assert wary.ended() == 1
        assert "the certificate of Redis is not trusted" in wary.said[-1]
        plain = start("worker", "jobs", **address)
        assert "set QUEUE_REDIS_TLS=Verify; retrying" in plain.line("retrying")
    finally:
        server.kill()


@pytest.mark.redis
def test_a_worker_waits_for_a_redis_that_is_not_there_yet(start: Start, own_redis: object, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "late")
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS=server.address, QUEUE_REDIS_TIMEOUT="0.5")
    worker.line("retrying")
    server.start()
    try:
        worker.line(f"Redis at {server.address} answers")
        worker.line("serving jobs.Job")
    finally:
        worker.kill()
        server.kill()


def test_a_worker_that_waits_for_redis_can_be_stopped(start: Start) -> None:
    worker = start("worker", "jobs", QUEUE_REDIS_ADDRESS="127.0.0.1:1", QUEUE_REDIS_TIMEOUT="0.5")
    worker.line("retrying")
    worker.tell(signal.SIGTERM)

    assert worker.ended() == 0


def test_a_port_that_is_taken_is_named(start: Start) -> None:
    first = start("worker", "jobs", QUEUE_REDIS_ADDRESS="127.0.0.1:1", QUEUE_REDIS_TIMEOUT="0.5")
    port = first.line("/metrics").rpartition(" ")[2]
    second = start("worker", "jobs", QUEUE_REDIS_ADDRESS="127.0.0.1:1", QUEUE_METRICS_PORT=port)

    assert second.ended() == 1
    assert f"QUEUE_METRICS_PORT = {port} cannot be served" in second.said[-1]


@pytest.mark.parametrize("is_chosen", [False, True])
async def test_only_a_worker_that_was_told_no_port_takes_another_than_the_one_that_is_taken(
    is_chosen: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    a_worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()))
    with socket.create_server(("", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(settings if is_chosen else Settings, "metrics_port", taken)
        serving = serving_http(a_worker, [], Health(a_worker, []))
        if is_chosen:
            with pytest.raises(ShardedQueueError, match=f"QUEUE_METRICS_PORT = {taken} cannot be served"):
                await serving.__aenter__()
            return
        async with serving as port:
            assert port not in {0, taken}
    assert f"port {taken} is taken, so a free one is used; set QUEUE_METRICS_PORT to choose one" in caplog.text


# What reads


@pytest.mark.redis
def test_tubes_shows_what_waits(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    register(redis, jobs, 1, 2, 3)
    shown = start("tubes", "jobs.Job", QUEUE_REDIS_ADDRESS=redis.address)
    as_json = start("tubes", "--module", "jobs", "--json", QUEUE_REDIS_ADDRESS=redis.address)

    assert shown.ended() == 0
    assert shown.line("jobs.Job").split()[:5] == ["jobs.Job", "1", "1", "0", "3"]
    assert "\x1b" not in shown.text
    assert as_json.ended() == 0
    (facts,) = json.loads(as_json.text)
    assert (facts["handler"], facts["depth"], facts["tubes"][0]["thread"]) == ("jobs.Job", 3, "one")


@pytest.mark.redis
def test_watching_goes_on_until_it_is_told_to_stop(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    watching = start("tubes", "--module", "jobs", "--watch", "--json", QUEUE_REDIS_ADDRESS=redis.address)
    watching.line('"depth":0')
    register(redis, jobs, 1, 2)
    watching.line('"depth":2')
    watching.tell(signal.SIGINT)

    assert watching.ended() == 0


@pytest.mark.redis
def test_peek_shows_requests_and_leaves_them(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    register(redis, jobs, 17, 18)
    shown = start("peek", "jobs.Job", "one", QUEUE_REDIS_ADDRESS=redis.address)
    empty = start("peek", "jobs.Job", "two", QUEUE_REDIS_ADDRESS=redis.address)

    assert shown.ended() == 0
    assert [line.split()[-1] for line in shown.said if line.strip()][-2:] == ["17", "18"]
    assert empty.ended() == 2
    assert "jobs.Job has no thread 'two' with requests: all were handled, or none was ever registered" in empty.text
    assert state(redis).depth == 2


@pytest.mark.redis
def test_peek_shows_the_beginning_of_a_large_request(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    register(redis, jobs, 17)
    ask(redis, lambda client: client.lset("tube_{jobs.Job}/one/0", 0, b"1700000000000" + b"y" * 500_000))
    shown = start("peek", "jobs.Job", "one", QUEUE_REDIS_ADDRESS=redis.address)
    whole = start("peek", "jobs.Job", "one", "--json", QUEUE_REDIS_ADDRESS=redis.address)

    assert shown.ended() == whole.ended() == 0
    assert shown.text.count("y") < 3000
    assert "characters more" in shown.text
    assert "y" * 500_000 in whole.text


@pytest.mark.redis
def test_what_a_terminal_has_no_letters_for_is_spelled_out(
    redis: RedisServer, start: Start, jobs: type[Handler]
) -> None:
    register(redis, jobs, 1)
    ask(redis, lambda client: client.lset("tube_{jobs.Job}/one/0", 0, "a snowman: ☃"))
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    shown = start("peek", "jobs.Job", "one", QUEUE_REDIS_ADDRESS=redis.address, **latin)

    assert shown.ended() == 0, shown.text
    assert "a snowman: \\u2603" in shown.text


@pytest.mark.redis
def test_what_redis_holds_cannot_move_the_cursor(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    register(redis, jobs, 1)
    ask(redis, lambda client: client.lset("tube_{jobs.Job}/one/0", 0, "\x1b[2J\x07 not ours"))
    shown = start("peek", "jobs.Job", "one", QUEUE_REDIS_ADDRESS=redis.address)

    assert shown.ended() == 0
    assert "\x1b" not in shown.text
    assert "\\x1b[2J\\x07 not ours" in shown.text


@pytest.mark.redis
def test_schedules_are_shown_and_removed(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    async def put(client: Any) -> None:
        async with Redis(host="127.0.0.1", port=redis.port) as raw:
            await Queue(RedisStorage(raw)).schedule(jobs, 7, name="beat", every_seconds=90)

    def shown(*words: str) -> CliProcess:
        return start("schedules", *words, QUEUE_REDIS_ADDRESS=redis.address)

    register(redis, jobs, 1)
    none = shown("list", "jobs.Job")
    assert (none.ended(), none.text) == (0, "jobs.Job has no schedules")
    ask(redis, put)
    listed, as_json = shown("list", "jobs.Job"), shown("list", "jobs.Job", "--json")
    assert (listed.ended(), as_json.ended()) == (0, 0)
    assert listed.line("beat").split()[:6] == ["beat", "every", "1", "min", "30", "s"]
    facts = json.loads(as_json.text)
    assert [facts[name] for name in ("name", "timing", "thread", "request")] == ["beat", "every 90 s", "one", 7]
    removed, again = (shown("remove", "jobs.Job", "beat", "--json") for _ in range(2))
    assert sorted([removed.ended(), again.ended()]) == [0, 2]
    assert any("has no schedule 'beat'" in program.text for program in (removed, again))
    assert state(redis).schedules == 0


@pytest.mark.redis
def test_dead_list_shows_the_reason(redis: RedisServer, start: Start, jobs: type[Handler]) -> None:
    async def bury(client: Any) -> None:
        raw = Redis(host="127.0.0.1", port=redis.port)
        async with raw:
            storage, coordinator = RedisStorage(raw), RedisCoordinator(raw)
            coordinator.attach(storage)
            (batch,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, settings.coordinator_lease))).batches
            await storage.fail(Failure(batch.lease, 0, batch.first, 3, "ValueError: no such user"))

    register(redis, jobs, 42)
    none = start("dead", "list", "jobs.Job", QUEUE_REDIS_ADDRESS=redis.address)
    assert none.ended() == 0
    assert none.text == "jobs.Job has no dead letters"
    ask(redis, bury)
    shown = start("dead", "list", "jobs.Job", QUEUE_REDIS_ADDRESS=redis.address)

    assert shown.ended() == 0
    assert "one/0" in shown.text
    assert "ValueError: no such user" in shown.text


@pytest.mark.parametrize("words", [["tubes", "a.B"], ["peek", "a.B", "1"], ["dead", "list", "a.B"]])
def test_reading_from_a_redis_that_is_not_there_says_so(words: list[str]) -> None:
    settings.redis_address, settings.redis_timeout = ("127.0.0.1:1",), 0.1

    reading = CliRunner().invoke(program.main, words)

    assert reading.exit_code == 1
    assert reading.stderr.startswith("Error: no answer of Redis in 0.1 s")


def test_tubes_of_nothing_asks_for_a_handler() -> None:
    asking = CliRunner().invoke(program.main, ["tubes"])

    assert asking.exit_code == 2
    assert "name a HANDLER" in asking.stderr


# Commands of other packages


def test_an_added_command_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sharded_queue_operator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "yaml", None)

    missing = CliRunner().invoke(program.main, ["run", "queue.yaml", "--redis", "localhost:6379"])

    assert missing.exit_code == 1
    assert missing.stderr == "Error: yaml is not installed; run pip install 'sharded-queue[operator]'\n"


def test_an_unknown_command_is_refused() -> None:
    unknown = CliRunner().invoke(program.main, ["runn"])

    assert unknown.exit_code == 2
    assert "No such command 'runn'" in unknown.stderr
