"""What all tests share: a redis-server, and settings that a test may change."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.harness import order, surroundings, timeouts
from tests.harness.requirements import require_redis
from tools.redis_server import Ask, RedisServer

surroundings.neutral()  # the library reads its settings when it is imported, which the tests do after this

pytest_plugins = ["tests.cluster.fixtures"]
MODEL_SEED, ORDER_SEED = order.seed("MODEL_SEED"), order.seed("ORDER_SEED")


def pytest_report_header() -> str:
    return f"the same again: MODEL_SEED={MODEL_SEED} ORDER_SEED={ORDER_SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also where `-q` leaves the header out."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(pytest_report_header())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = order.shuffle(items, ORDER_SEED)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """pytest-timeout stops its timer at the first failure of a test: the clean-up has a time of its own."""
    with timeouts.each_wait_ends(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """What a test logged and printed goes from one process to another, as UTF-8: what is none of it is spelled out."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The redis-server that all tests share: leave it running and as it was configured."""
    require_redis()
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Makes redis-servers, already started, that one test may stop, kill, pause and configure."""
    require_redis()
    servers: list[RedisServer] = []

    def start(**options: str) -> RedisServer:
        servers.append(RedisServer(tmp_path_factory.mktemp("redis"), **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def ask(redis_server: RedisServer) -> Ask:
    """Asks the shared redis-server, emptied before, which the commands of the library speak to as well."""
    from sharded_queue.settings import settings

    settings.redis_address = (redis_server.address,)

    def asked(question: Callable[[Redis], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            async with Redis(port=redis_server.port) as redis:
                return await question(redis)

        return asyncio.run(once())

    asked(lambda redis: redis.flushall())
    return asked


@pytest.fixture(autouse=True)
def _settings_as_they_were() -> Iterator[None]:
    from sharded_queue.settings import settings

    given = dict(vars(settings))
    yield
    vars(settings).clear()
    vars(settings).update(given)
