"""A queue for code without an event loop keeps the promises of `Queue`: in OS threads, after forks, through outages."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

import pytest
from redis import Redis

from sharded_queue import (
    Handler,
    Middleware,
    QueueFull,
    RedisOptions,
    Route,
    ShardedQueueError,
    StorageUnavailable,
    SyncQueue,
    settings,
)
from sharded_queue.queue.middleware import Register
from sharded_queue.serializer import STAMP_DIGITS, body_of, unpack
from tests.harness.requirements import lack
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
SECONDS = 20
CALLER: ContextVar[str] = ContextVar("CALLER", default="")


class Numbered(Handler):
    """Requests are (thread, number)."""

    name = "sync.Numbered"
    callers: ClassVar[list[str]] = []

    @classmethod
    async def route(cls, *requests: tuple[str, int]) -> list[Route]:
        cls.callers.append(CALLER.get())
        return [Route(thread) for thread, _ in requests]

    async def perform(self, *requests: tuple[str, int]) -> None: ...


class Narrow(Numbered):
    name = "sync.Narrow"
    capacity = 1


class Signalled(Numbered):
    """Says when a registration is under way."""

    name = "sync.Signalled"
    began = threading.Event()

    @classmethod
    async def route(cls, *requests: tuple[str, int]) -> list[Route]:
        cls.began.set()
        return await super().route(*requests)


@pytest.fixture
def queue(ask: Ask) -> Iterator[SyncQueue]:
    with SyncQueue() as made:
        yield made


def waiting(ask: Ask, thread: str) -> list[int]:
    """The numbers in the tube of a thread, from its head."""
    messages = ask(lambda redis: redis.lrange(f"tube_{{sync.Numbered}}/{thread}/{settings.default_priority}", 0, -1))
    return [int(body_of(message[STAMP_DIGITS:]).rpartition(b",")[2].strip(b"]")) for message in messages]


def test_requests_of_many_os_threads_keep_their_order(queue: SyncQueue, ask: Ask) -> None:
    def produce(name: str) -> None:
        for number in range(50):
            queue.register(Numbered, (name, number))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(produce, name) for name in "abcdefgh"]:
            done.result(SECONDS)

    assert {name: waiting(ask, name) for name in "abcdefgh"} == {name: list(range(50)) for name in "abcdefgh"}


def test_one_call_opens_one_os_thread_that_close_ends(queue: SyncQueue) -> None:
    before = set(threading.enumerate())
    queue.register(Numbered, ("a", 1))
    queue.register(Numbered, ("a", 2))
    (own,) = set(threading.enumerate()) - before

    queue.close()
    own.join(SECONDS)
    assert not own.is_alive()


def test_a_receipt_cancels_a_delayed_request(queue: SyncQueue) -> None:
    (receipt,) = queue.register(Numbered, ("a", 1), delay_seconds=600)

    assert [each.sequence for each in queue.delayed(Numbered)] == [receipt.sequence]
    assert queue.cancel(receipt) == [receipt]
    assert queue.delayed(Numbered) == []


def test_a_schedule_is_made_listed_and_removed(queue: SyncQueue) -> None:
    when = queue.schedule(Numbered, ("a", 1), name="beat", every_seconds=3600)

    (upcoming,) = queue.schedules(Numbered)
    assert (upcoming.name, upcoming.next_ms) == ("beat", when.timestamp() * 1000)
    assert queue.unschedule(Numbered, "beat")
    assert not queue.unschedule(Numbered, "beat")


def test_what_a_queue_refuses_is_raised_in_the_caller(queue: SyncQueue) -> None:
    queue.register(Narrow, ("a", 1))

    with pytest.raises(QueueFull, match="holds 1") as refused:
        queue.register(Narrow, ("a", 2))
    assert "no running event loop" not in "".join(traceback.format_exception(refused.value))


def test_a_route_runs_in_the_context_of_the_caller(queue: SyncQueue) -> None:
    Numbered.callers.clear()
    CALLER.set("a view")
    queue.register(Numbered, ("a", 1))

    assert Numbered.callers == ["a view"]


async def test_a_call_in_an_event_loop_is_refused_with_what_to_do(ask_free_queue: SyncQueue) -> None:
    with pytest.raises(ShardedQueueError, match="await the methods of Queue there"):
        ask_free_queue.register(Numbered, ("a", 1))


@pytest.fixture
def ask_free_queue() -> Iterator[SyncQueue]:
    """One that never connects."""
    with SyncQueue() as made:
        yield made


async def test_the_event_loop_of_the_caller_is_not_touched(redis_server: RedisServer) -> None:
    """As Django does for sync views: an OS thread beside a running event loop."""
    settings.redis_address = (redis_server.address,)
    with SyncQueue() as queue:
        receipts = await asyncio.to_thread(queue.register, Numbered, ("beside", 1))
        assert len(receipts) == 1
        await asyncio.to_thread(queue.close)


def test_a_closed_queue_says_so(queue: SyncQueue) -> None:
    queue.close()
    queue.close()

    with pytest.raises(ShardedQueueError, match="closed: make another"):
        queue.register(Numbered, ("a", 1))


def test_a_restart_of_redis_costs_no_request(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(appendonly="yes")
    with SyncQueue(RedisOptions((server.address,))) as queue:
        first = queue.register(Numbered, ("a", 1))[0].sequence
        server.kill()
        restarting = threading.Timer(0.3, server.start)
        restarting.start()
        second = queue.register(Numbered, ("a", 2))[0].sequence
        restarting.join()

        assert second == first + 1


def test_a_redis_that_stays_away_is_an_error_in_time(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    settings.redis_retry = settings.redis_timeout = 0.2
    with SyncQueue(RedisOptions((server.address,), timeout_seconds=0.2)) as queue:
        queue.register(Numbered, ("a", 1))
        server.kill()

        with pytest.raises(StorageUnavailable):
            queue.register(Numbered, ("a", 2))


def test_closing_waits_for_a_call_that_is_under_way(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    queue = SyncQueue(RedisOptions((server.address,)))
    queue.register(Numbered, ("a", 1))
    server.pause()
    with ThreadPoolExecutor(2) as pool:
        registering = pool.submit(queue.register, Signalled, ("a", 2))
        assert Signalled.began.wait(SECONDS)
        closing = pool.submit(queue.close)
        assert wait([closing], timeout=0.5).not_done, "it would be closed by now, if it did not wait"
        server.resume()

        assert len(registering.result(SECONDS)) == 1
        closing.result(SECONDS)


FORKING = """
import os, sys, threading
from sharded_queue import Handler, RedisOptions, Route, SyncQueue

class Numbered(Handler):
    name = "sync.Numbered"
    @classmethod
    async def route(cls, *requests):
        return [Route(thread) for thread, _ in requests]
    async def perform(self, *requests): ...

queue = SyncQueue(RedisOptions((sys.argv[1],)))
queue.register(Numbered, ("parent", 0))
queue._lock.acquire()  # as another OS thread of the parent may have at that moment
pid = os.fork()
if pid == 0:
    for number in range(20):
        queue.register(Numbered, ("child", number))
    sys.exit(0)
queue._lock.release()
for number in range(1, 20):
    queue.register(Numbered, ("parent", number))
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_parent_and_child_of_a_fork_register_each_for_itself(ask: Ask, redis_server: RedisServer) -> None:
    done = run(FORKING, redis_server.address)

    assert (done.returncode, done.stderr) == (0, "")
    assert (waiting(ask, "parent"), waiting(ask, "child")) == (list(range(20)), list(range(20)))


LEAVING = FORKING.partition("queue._lock")[0]
FIRST_CALL = 'queue.register(Numbered, ("parent", 0))\n'


def test_a_program_that_closes_nothing_ends_in_silence(redis_server: RedisServer, tmp_path: Path) -> None:
    done = run(LEAVING, redis_server.address)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LATE = f"""{LEAVING}
threading.Thread(target=lambda: (threading.main_thread().join(), queue.register(Numbered, ("parent", 1)))).start()
"""


def test_an_os_thread_that_outlives_the_main_thread_registers(ask: Ask, redis_server: RedisServer) -> None:
    """Its first call also looks up the name of a host, in OS threads that Python has shut down by then."""
    late = LATE.replace('queue.register(Numbered, ("parent", 0))\n', "")
    done = run(late, f"localhost:{redis_server.port}")

    assert (done.returncode, done.stderr) == (0, "")
    assert waiting(ask, "parent") == [1]


GREENLETS = {
    "gevent": "from gevent import monkey, spawn; monkey.patch_all()",
    "eventlet": """
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
spawn = eventlet.spawn
""",
}
MANY = """
def produce(name, queue):
    for number in range(20):
        queue.register(Numbered, (name, number))

other = SyncQueue(RedisOptions((sys.argv[1],)))
begun = [spawn(produce, name, queue if name < "e" else other) for name in "abcdefgh"]
for each in begun:
    (each.get if hasattr(each, "get") else each.wait)()
other.close()
"""


@pytest.mark.parametrize("library", GREENLETS)
def test_greenlets_register_at_once_and_keep_their_order(ask: Ask, redis_server: RedisServer, library: str) -> None:
    done = run_greenlets(library, MANY, f"localhost:{redis_server.port}")

    assert (done.returncode, done.stderr) == (0, "")
    assert {name: waiting(ask, name) for name in "abcdefgh"} == {name: list(range(20)) for name in "abcdefgh"}


def process_of(server: RedisServer) -> str:
    with Redis(port=server.port) as redis:
        return str(redis.info("server")["process_id"])


HELD_UP = """
import signal, time
server, order = int(sys.argv[2]), []

def produce():
    os.kill(server, signal.SIGSTOP)
    order.append("registering")
    queue.register(Numbered, ("parent", 1))
    order.append("registered")

def resume():
    order.append("others go on")
    os.kill(server, signal.SIGCONT)

begun = [spawn(produce), spawn(resume)]
while len(order) < 3:
    time.sleep(0.01)
print(*order, sep=", ")
"""


@pytest.mark.parametrize("library", GREENLETS)
def test_other_greenlets_go_on_while_one_waits_for_redis(own_redis: Callable[..., RedisServer], library: str) -> None:
    server = own_redis()
    done = run_greenlets(library, HELD_UP, server.address, process_of(server))

    assert (done.stdout, done.stderr) == ("registering, others go on, registered\n", "")


IMPATIENT = """
import gevent, signal
server = int(sys.argv[2])
os.kill(server, signal.SIGSTOP)
try:
    with gevent.Timeout(0.2):
        queue.register(Numbered, ("parent", 1))
except gevent.Timeout:
    print("timed out")
os.kill(server, signal.SIGCONT)
queue.register(Numbered, ("parent", 2))
"""


def test_a_time_out_of_gevent_ends_a_call(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    done = run_greenlets("gevent", IMPATIENT, server.address, process_of(server))

    assert (done.returncode, done.stdout, done.stderr) == (0, "timed out\n", "")


CLOSING = """
import gc
def count():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
def open_and_close():
    with SyncQueue(RedisOptions((sys.argv[1],))) as made:
        made.register(Numbered, ("parent", 1))
open_and_close()
before = count()
for _ in range(5):
    open_and_close()
print(count() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc, which Linux has")
@pytest.mark.parametrize("library", GREENLETS)
def test_a_closed_queue_leaves_no_file_open_beside_greenlets(redis_server: RedisServer, library: str) -> None:
    done = run_greenlets(library, CLOSING, f"localhost:{redis_server.port}")

    assert (done.stdout, done.stderr) == ("0\n", "")


def run_greenlets(library: str, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return run(GREENLETS[library] + LEAVING + script, *words)


UNDER_UWSGI = f"""
{LEAVING.replace(FIRST_CALL, "").replace("sys.argv[1]", "os.environ['ADDRESS']")}
def application(environ, start_response):
    try:
        said = str(queue.register(Numbered, ("parent", 0))[0].sequence)
    except Exception as error:
        said = str(error)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""


@pytest.fixture
def under_uwsgi(redis_server: RedisServer, tmp_path: Path, ask: Ask) -> Iterator[Callable[..., list[str]]]:
    """Serves requests by uWSGI with options; what they were answered."""
    if not find_spec("pyuwsgi"):
        lack("no package pyuwsgi for this machine")
    servers: list[subprocess.Popen[bytes]] = []

    def serve(*options: str) -> list[str]:
        (tmp_path / "application.py").write_text(UNDER_UWSGI)
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            bound.listen()
            port = bound.getsockname()[1]
            words = ["--http-socket", "fd://0", "--module", "application", "--need-app", *options]
            code = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
            environment = {**os.environ, "ADDRESS": redis_server.address}
            command = [sys.executable, "-c", code, *words]
            servers.append(subprocess.Popen(command, stdin=bound, cwd=tmp_path, env=environment))
        return [urlopen(f"http://127.0.0.1:{port}/", timeout=SECONDS).read().decode() for _ in range(4)]

    yield serve
    for server in servers:
        server.terminate()
        server.wait(SECONDS)


def test_processes_of_uwsgi_register(under_uwsgi: Callable[..., list[str]]) -> None:
    """They are forked after the application was imported."""
    assert under_uwsgi("--master", "--processes", "2", "--die-on-term", "--enable-threads") == ["0", "1", "2", "3"]


def test_a_uwsgi_that_runs_no_os_threads_is_told_what_to_set(under_uwsgi: Callable[..., list[str]]) -> None:
    """The call would wait for ever."""
    (said,) = set(under_uwsgi("--die-on-term"))

    assert "enable-threads = true" in said


def run(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    # A fork with OS threads is deprecated, from Python 3.12 on: servers that fork do it all the same.
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_middleware_surrounds_its_registrations(ask: Ask) -> None:
    class Origin(Middleware):
        async def register(
            self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
        ) -> None:
            receipts = await call_next({**headers, "origin": "shop"})
            seen.append((handler, requests, list(receipts)))

    seen: list[Any] = []
    with SyncQueue(middleware=[Origin()]) as queue:
        receipts = queue.register(Numbered, ("a", 1))

    assert seen == [(Numbered, (("a", 1),), list(receipts))]
    (message,) = ask(lambda redis: redis.lrange(f"tube_{{sync.Numbered}}/a/{settings.default_priority}", 0, -1))
    assert unpack(message).headers == {"origin": "shop"}
