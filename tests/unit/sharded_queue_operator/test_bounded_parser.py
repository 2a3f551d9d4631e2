"""What a Redis may make the operator read: framing as exact as the parser behind it, and bounds on all of it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import RedisCluster
from redis.exceptions import DataError

from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling import bounded_parser
from sharded_queue_operator.polling.bounded_parser import BoundedParser, Framing, bound

scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b":%d\r\n" % n),
    st.binary(max_size=30).map(lambda text: b"$%d\r\n%s\r\n" % (len(text), text)),
    st.sampled_from([b"+OK\r\n", b"-ERR no\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n"]),
)
texts = st.binary(max_size=8).map(lambda text: b"$%d\r\n%s\r\n" % (len(text), text))


def lists(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    plain = st.lists(inner, max_size=5).map(lambda parts: b"*%d\r\n" % len(parts) + b"".join(parts))
    pairs = st.lists(st.tuples(texts, inner), max_size=3, unique_by=lambda pair: pair[0])
    return plain | pairs.map(lambda each: b"%%%d\r\n" % len(each) + b"".join(b"".join(pair) for pair in each))


messages = st.recursive(scalars, lists, max_leaves=12)


@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_framing_ends_a_message_where_the_parser_does(parts: list[bytes], data: st.DataObject) -> None:
    """Whatever the network makes of the stream: it is cut anywhere."""
    stream, framing, reader = b"".join(parts), Framing(), hiredis.Reader(notEnoughData=None)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        framing.feed(stream[start:end])
        reader.feed(stream[start:end])
        with suppress(hiredis.ProtocolError):
            while reader.has_data() and reader.gets() is not None:
                pass
        fed, ends = end, [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
        assert (framing.begun_at is None) == (fed in {0, *ends})


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"*1000000000\r\n", "a list of 1,000,000,000 elements is over the limit of 131,072"),
        (b"*2\r\n:1\r\n%70000\r\n", "a list of 140,000 elements"),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$500000000000\r\n", "a text of 500,000,000,000 bytes"),
        (b"+" + b"x" * 100_000, "a line of 100,001 bytes"),
        (b"*1e9\r\n", "an announced length is not a number"),
        (b"*" + b"9" * 30_000 + b"\r\n", "an announced length is not a number"),
    ],
)
def test_what_is_announced_is_checked_before_it_is_parsed(sent: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint.replace("(", r"\(")):
        Framing().feed(sent)


def test_one_message_of_many_parts_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_parser, "MESSAGE_BYTES", 1_000)
    framing, text = Framing(), b"$90\r\n" + b"x" * 90 + b"\r\n"
    for _ in range(100):
        framing.feed(b"*2\r\n" + text + text)  # many messages are no harm

    framing.feed(b"*100\r\n" + 9 * text)
    with pytest.raises(DataError, match="a message of"):
        framing.feed(2 * text)


async def test_a_message_that_was_begun_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1_000):
                writer.write(b"*9\r\n")
                for _ in range(100):
                    writer.write(b"+x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()
        ended.set()

    monkeypatch.setattr(bounded_parser, "MESSAGE_SECONDS", 0.05)
    ended = asyncio.Event()
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        client = bound(connect(RedisOptions((address,), timeout_seconds=30)), Allowed())
        with pytest.raises(DataError, match="a message was incomplete after"):
            await client.ping()
        await close(client)
        await ended.wait()


@pytest.mark.parametrize(
    "options", [{}, {"mode": "Sentinel", "sentinel_master": "main"}, {"mode": "Cluster"}, {"tls": True}], ids=str
)
async def test_every_connection_of_a_client_is_bounded(options: Mapping[str, Any]) -> None:
    client = bound(connect(RedisOptions(("127.0.0.1:1",), **options)), Allowed())

    if isinstance(client, RedisCluster):
        made = [node.connection_class(**node.connection_kwargs) for node in client.nodes_manager.startup_nodes.values()]
    else:
        pools = [client.connection_pool]
        manager = getattr(client.connection_pool, "sentinel_manager", None)
        pools += [sentinel.connection_pool for sentinel in manager.sentinels] if manager else []
        made = [pool.make_connection() for pool in pools]

    assert all(isinstance(connection._parser, BoundedParser) for connection in made)
    assert len(made) == (2 if options.get("mode") == "Sentinel" else 1)
    await close(client)
