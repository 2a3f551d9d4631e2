"""
What the library uses of redis-py beyond what it documents, one test each: a release of redis-py that lacks one fails
here by name. docs/decisions/20261126-what-we-use-of-redis-py.md says why each is used.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis._parsers.hiredis import _AsyncHiredisParser
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool

import sharded_queue
import sharded_queue_operator

PAGE = Path(__file__).parents[3] / "docs" / "decisions" / "20261126-what-we-use-of-redis-py.md"
PACKAGES = [Path(package.__file__).parent for package in (sharded_queue, sharded_queue_operator)]


@pytest.fixture
def on_nodes() -> RedisCluster:
    return RedisCluster(host="127.0.0.1", port=1)


@pytest.fixture
def behind_sentinel() -> Redis:
    return Sentinel([("127.0.0.1", 1)], password="secret").master_for("master")  # type: ignore[no-untyped-call, no-any-return]


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    "name", ["_dynamic_startup_nodes", "address_remap", "connection_kwargs", "require_full_coverage", "startup_nodes"]
)
def test_the_nodes_manager_keeps_what_a_clone_needs(on_nodes: RedisCluster, name: str) -> None:
    assert hasattr(on_nodes.nodes_manager, name)


def test_the_arguments_of_a_cluster_are_kept_by_their_names(on_nodes: RedisCluster) -> None:
    assert set(on_nodes.connection_kwargs) & parameters(RedisCluster)
    assert "connection_class" in on_nodes.connection_kwargs


def test_a_cluster_says_whether_it_has_discovered_its_nodes(on_nodes: RedisCluster) -> None:
    assert on_nodes._initialize is True


@pytest.mark.parametrize(
    ("method", "argument"), [("initialize", "last_failed_node_name"), ("aclose", "attr"), ("aclose", "self")]
)
def test_nodes_are_discovered_and_closed_by_the_nodes_manager(method: str, argument: str) -> None:
    assert argument in parameters(getattr(NodesManager, method))


def test_the_node_that_is_asked_for_commands_can_be_set(on_nodes: RedisCluster) -> None:
    on_nodes.commands_parser.node = None


@pytest.mark.parametrize("method", ["acquire_connection", "release"])
def test_a_node_lends_connections(method: str) -> None:
    assert not inspect.iscoroutinefunction(getattr(ClusterNode, method))


@pytest.mark.parametrize("name", ["connection_class", "connection_kwargs", "max_connections"])
def test_a_pool_keeps_what_a_clone_needs(name: str) -> None:
    assert hasattr(Redis().connection_pool, name)


@pytest.mark.parametrize("name", ["check_connection", "is_master", "sentinel_manager", "service_name"])
def test_a_pool_behind_sentinels_keeps_what_a_clone_needs(behind_sentinel: Redis, name: str) -> None:
    assert isinstance(behind_sentinel.connection_pool, SentinelConnectionPool)
    assert hasattr(behind_sentinel.connection_pool, name)


def test_the_arguments_of_a_pool_behind_sentinels_hold_the_pool_itself(behind_sentinel: Redis) -> None:
    assert "connection_pool" in behind_sentinel.connection_pool.connection_kwargs


@pytest.mark.parametrize("name", ["_force_master_ip", "min_other_sentinels", "sentinels"])
def test_sentinels_keep_what_a_clone_needs(behind_sentinel: Redis, name: str) -> None:
    assert hasattr(behind_sentinel.connection_pool.sentinel_manager, name)


def test_a_connection_reads_an_answer_without_a_time_out_of_its_own() -> None:
    assert {"disable_decoding", "timeout"} <= parameters(Connection.read_response)


def test_a_connection_closes_at_once() -> None:
    assert "nowait" in parameters(Connection.disconnect)


@pytest.mark.parametrize("name", ["_writer", "is_connected", "socket_timeout"])
def test_a_connection_tells_its_state(name: str) -> None:
    assert hasattr(Connection(), name)


def test_a_pool_takes_a_parser_class() -> None:
    parser = type("Parser", (_AsyncHiredisParser,), {})
    connection = ConnectionPool(parser_class=parser).make_connection()

    assert type(connection._parser) is parser  # type: ignore[attr-defined]


def test_the_parser_reads_in_one_place() -> None:
    """`BoundedParser` stands in front of it."""
    parser = _AsyncHiredisParser(socket_read_size=4096)  # type: ignore[no-untyped-call]

    assert inspect.iscoroutinefunction(parser.read_from_socket)
    assert {"_stream", "_reader", "_read_size"} <= set(dir(parser))
    assert "connection" in parameters(parser.on_connect)


def private_names() -> Iterator[tuple[str, str]]:
    """Names with an underscore that modules which import redis-py take from others than themselves."""
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            text = path.read_text()
            if "redis.asyncio" in text or "redis._parsers" in text:
                yield from ((path.name, name) for name in _private_of_others(ast.parse(text)))


def _private_of_others(tree: ast.Module) -> set[str]:
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}
    used = {node.attr for node in attributes}
    imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
    return {name for name in (used - own) | imported if name.startswith("_") and not name.startswith("__")}


def test_the_page_lists_every_private_name_that_is_used() -> None:
    page, known = PAGE.read_text(), {"_asdict", "_replace", "_forget", "_is_owner"}  # of NamedTuples, and our own
    used = {name for _, name in private_names()} - known

    assert "_initialize" in used
    assert [name for name in sorted(used) if f"`{name}`" not in page and f".{name}`" not in page] == []
