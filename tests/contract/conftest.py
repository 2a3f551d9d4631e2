"""The backends that the contract holds on: a new backend is one more line here."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sharded_queue import settings
from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from tests.contract.backend import Backend, MemoryBackend, RedisBackend
from tests.contract.users import ROLES, UsersBackend, acl_file
from tests.contract.users import client as client_of
from tests.harness.certificates import Authority, TlsServer
from tests.harness.redis_groups import MASTER, Nodes, Sentinels
from tests.harness.requirements import ValkeyServer, require_redis
from tools.redis_server import RedisServer


@pytest.fixture(autouse=True)
def one_thread_at_a_time() -> None:
    """So that a test can say what a worker does in turn; a test of what it does at once says how many."""
    settings.worker_concurrency = 1


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = Redis(host="127.0.0.1", port=redis_server.port, retry=Retry(NoBackoff(), 0))
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    require_redis()
    group = Sentinels(tmp_path_factory.mktemp("sentinels"))
    yield group
    group.kill()


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    require_redis()
    group = Nodes(tmp_path_factory.mktemp("nodes"))
    yield group
    group.kill()


@pytest.fixture
async def behind_sentinel(sentinels: Sentinels) -> AsyncIterator[Client]:
    client = connect(RedisOptions(sentinels.addresses, mode="Sentinel", sentinel_master=MASTER))
    await client.flushall()
    yield client
    await close(client)


@pytest.fixture
async def on_cluster(nodes: Nodes) -> AsyncIterator[Client]:
    client = connect(RedisOptions(nodes.addresses, mode="Cluster"))
    await client.flushall(target_nodes="primaries")
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def users_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with the users of the repository."""
    require_redis()
    folder = tmp_path_factory.mktemp("users")
    server = RedisServer(folder, aclfile=str(acl_file(folder))).start()
    yield server
    server.kill()


@pytest.fixture
async def as_users(users_server: RedisServer) -> AsyncIterator[RedisBackend]:
    clients = {user: client_of(user, users_server.port) for user in ("hands", *ROLES)}
    await clients["hands"].flushall()
    yield UsersBackend(clients)
    for each in clients.values():
        await close(each)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TlsServer]:
    require_redis()
    server = TlsServer(tmp_path_factory.mktemp("tls"), authority)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def over_tls(tls_server: TlsServer) -> AsyncIterator[Client]:
    address = (f"localhost:{tls_server.port}",)
    client = connect(RedisOptions(address, tls=True, tls_ca=str(tls_server.authority.file)))
    await client.flushall()
    yield client
    await close(client)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.kill()


@pytest.fixture
async def on_valkey(valkey_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(RedisOptions((valkey_server.address,)))
    await client.flushall()
    yield client
    await close(client)


REDIS_BACKENDS = ("redis", "behind_sentinel", "on_cluster", "as_users", "over_tls", "on_valkey")


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.redis) for name in REDIS_BACKENDS)])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    given = request.getfixturevalue(request.param)
    return given if isinstance(given, Backend) else RedisBackend(given)


@pytest.fixture
def on_redis(redis: Redis) -> RedisBackend:
    return RedisBackend(redis)


@pytest.fixture
async def own_backend(
    own_redis: Callable[..., RedisServer],
) -> AsyncIterator[Callable[..., tuple[RedisServer, RedisBackend]]]:
    """Makes a redis-server that the test may stop, pause and configure, and the backend on it."""
    clients: list[Redis] = []

    def make(**options: str) -> tuple[RedisServer, RedisBackend]:
        server = own_redis(**options)
        clients.append(Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0)))
        return server, RedisBackend(clients[-1])

    yield make
    for client in clients:
        await client.aclose()
