"""What a Redis may make the operator read: framing as exact as the parser behind it, and bounds on all of it."""

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import RedisCluster
from redis.exceptions import DataError

from sharded_queue.backends.redis.bounded_parser import (
    BoundedParser,
    Bounds,
    Bucket,
    Budget,
    Framing,
    Gate,
    bind_parser,
)
from sharded_queue.backends.redis.client import Client, RedisOptions, clone, close, connect
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.guard import BOUNDS, OWN_BURST, OWN_RATE, SHARED_BURST, SHARED_RATE, Budgets, guard

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
@pytest.mark.slow
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
        (b"*1000000000\r\n", "a message of 1,000,000,000 elements is over the limit of 131,072"),
        (b"*2\r\n:1\r\n%70000\r\n", "a message of 140,002 elements"),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$500000000000\r\n", "a text of 500,000,000,000 bytes"),
        (b"+" + b"x" * 100_000, "a line of 100,001 bytes"),
        (b"*1e9\r\n", "an announced length is not a number"),
        (b"*" + b"9" * 30_000 + b"\r\n", "an announced length is not a number"),
    ],
)
def test_what_is_announced_is_checked_before_it_is_parsed(sent: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint.replace("(", r"\(")):
        Framing(BOUNDS).feed(sent)


def test_the_lists_of_one_message_are_bounded_together() -> None:
    framing, lists = Framing(Bounds(elements=1_000)), b"*2\r\n" + b"*400\r\n" + b"*0\r\n" * 400
    for _ in range(100):
        framing.feed(b"*400\r\n" + b"*0\r\n" * 400)  # many messages are no harm

    framing.feed(lists)
    with pytest.raises(DataError, match="a message of 1,002 elements is over the limit of 1,000"):
        framing.feed(b"*600\r\n")


def test_attributes_without_an_end_are_bounded() -> None:
    with pytest.raises(DataError, match=r"a message of 1,001 elements is over the limit of 1,000"):
        Framing(Bounds(elements=1_000)).feed(b"|0\r\n" * 2_000)


def test_errors_in_a_list_are_few() -> None:
    with pytest.raises(DataError, match=r"a message of 131,\d\d\d elements is over the limit of 131,072"):
        Framing(BOUNDS).feed(b"*2000\r\n" + b"-\r\n" * 2_000)


def test_one_message_of_many_parts_is_bounded_as_a_whole() -> None:
    framing, text = Framing(Bounds(bytes=1_000)), b"$90\r\n" + b"x" * 90 + b"\r\n"
    for _ in range(100):
        framing.feed(b"*2\r\n" + text + text)  # many messages are no harm

    framing.feed(b"*100\r\n" + 9 * text)
    with pytest.raises(DataError, match="a message of"):
        framing.feed(2 * text)


async def test_a_message_that_was_begun_has_a_deadline() -> None:
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

    ended = asyncio.Event()
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        client = connect(RedisOptions((address,), timeout_seconds=30))
        bind_parser(client, type("Hasty", (BoundedParser,), {"bounds": Bounds(seconds=0.05)}))
        with pytest.raises(DataError, match="a message was incomplete after"):
            await client.ping()
        await close(client)
        await ended.wait()


def bind(client: Client) -> Client:
    bind_parser(client)
    return client


@pytest.mark.parametrize(
    "options", [{}, {"mode": "Sentinel", "sentinel_master": "main"}, {"mode": "Cluster"}, {"tls": True}], ids=str
)
@pytest.mark.parametrize(
    "wrap", [bind, lambda client: clone(bind(client)), lambda client: guard(client, Allowed(), Budgets().make(list))]
)
async def test_every_connection_of_a_client_is_bounded(
    options: Mapping[str, Any], wrap: Callable[[Client], Client]
) -> None:
    client = wrap(connect(RedisOptions(("127.0.0.1:1",), **options)))

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


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def budgets(clock: Clock, count: int) -> list[Budget]:
    """Of as many Redis of one namespace."""
    shared = Bucket(SHARED_RATE, SHARED_BURST, clock)
    return [Budget(Bucket(OWN_RATE, OWN_BURST, clock), lambda: [shared], Gate()) for _ in range(count)]


def test_forty_servers_that_answer_without_end_leave_another_its_own() -> None:
    """In ten seconds, each is read as soon as it may be; the other's answers are never due a wait."""
    clock = Clock()
    *evil, good = budgets(clock, 41)
    costs, waits, chunk = 0, [], 64 << 10
    for tick in range(1_000):
        clock.now = tick / 100
        for each in evil:
            if not each.wait_seconds:
                each.take(chunk)
                costs += chunk
        if tick % 100 == 0:
            waits.append(good.wait_seconds)
            good.take(4 << 10)

    assert waits == [0.0] * 10
    most = 10 * (40 * OWN_RATE + SHARED_RATE) + 40 * (OWN_BURST + chunk) + SHARED_BURST
    assert costs <= most


def test_a_namespace_that_is_used_up_keeps_no_other_from_a_redis_that_both_name() -> None:
    clock = Clock()
    used_up, full = Bucket(1, 1, clock), Bucket(1, 100, clock)
    used_up.take(1_000)
    budget = Budget(Bucket(1, 1, clock), lambda: [used_up, full], Gate())
    budget.take(50)

    assert budget.wait_seconds == 0.0
    assert (used_up.left, full.left) == (-999, 51)


async def test_gate_lets_one_in_at_a_time_and_who_used_least_first() -> None:
    clock, gate, read = Clock(), Gate(), list[str]()

    async def take(name: str, cost: int) -> None:
        budget = Budget(Bucket(1, 1_000, clock), list, gate)
        budget.take(cost)
        async with gate.turn(budget):
            read.append(name)

    async with asyncio.timeout(10):
        async with gate.turn(Budget(Bucket(1, 1, clock), list, gate)):
            tasks = [asyncio.create_task(take(f"used {cost}", cost)) for cost in (900, 500, 0, 700)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            assert read == []
        await asyncio.wait(tasks)

    assert read == ["used 0", "used 700", "used 900"]


async def test_a_read_that_waited_for_its_turn_is_of_what_is_left_then() -> None:
    """Forty that came while something was left: the first one uses it up."""
    clock, gate = Clock(), Gate()
    shared = Bucket(1, 1, clock)

    def make_parser() -> BoundedParser:
        parser = BoundedParser(socket_read_size=1_000)
        own = Bucket(1, 1, clock)
        own.take(100)
        parser.budget = Budget(own, lambda: [shared], gate)
        parser._framing, parser._reader = Framing(), hiredis.Reader()
        parser._stream = asyncio.StreamReader()
        parser._stream.feed_data(b"+OK\r\n")
        return parser

    reads = [asyncio.create_task(make_parser().read_from_socket()) for _ in range(40)]
    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(200):  # rounds of the event loop: each of the others has had its turn
        await asyncio.sleep(0)

    assert [read.done() for read in reads].count(True) == 1
    for read in reads:
        read.cancel()
    await asyncio.wait(reads)


WIDE = b"*100\r\n" + (b"*1000\r\n" + b"*0\r\n" * 1_000) * 100


async def answer_widely(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a hostile Redis answers, whatever it is asked."""
    with suppress(ConnectionError):
        while await reader.read(1_000):
            writer.write(WIDE)
            await writer.drain()
    writer.transport.abort()


async def test_hostile_servers_have_one_read_a_round_of_the_event_loop_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds, reads = 0, Counter[int]()
    feed = Framing.feed

    def count(framing: Framing, chunk: bytes) -> None:
        reads[rounds] += 1
        feed(framing, chunk)

    monkeypatch.setattr(Framing, "feed", count)
    budgets, clients, servers = Budgets(), list[Client](), list[asyncio.Server]()
    for _ in range(8):
        server = await asyncio.start_server(answer_widely, "127.0.0.1", 0)
        servers.append(server)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        clients.append(guard(connect(RedisOptions((address,))), Allowed(), budgets.make(lambda: ["ns"])))
    asked = asyncio.gather(*[client.execute_command("PING") for client in clients], return_exceptions=True)
    async with asyncio.timeout(30):
        while sum(reads.values()) < 25:  # as many as nobody waits for
            rounds += 1
            await asyncio.sleep(0)
    asked.cancel()
    with suppress(asyncio.CancelledError):
        await asked

    assert max(reads.values()) == 1
    for client in clients:
        await close(client)
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})  # the servers' connections end


@pytest.mark.parametrize("part", [b"*0\r\n", b":1\r\n", b"$1\r\nx\r\n"])
def test_what_takes_time_to_read_costs_more_than_its_bytes(part: bytes) -> None:
    framing = Framing()
    framing.feed(b"*1000\r\n" + part * 1_000)
    framing.feed(b"+OK\r\n" * 1_000)

    assert framing.cost > 1_000 * 40 + 1_000 * 1_024


@pytest.mark.parametrize(
    "part",
    [b"*0\r\n", b"%0\r\n", b"-\r\n", b"-ERR x\r\n", b":1000\r\n", b"+xy\r\n", b"$2\r\nxy\r\n", b"|0\r\n*0\r\n"],
)
def test_what_is_read_takes_no_more_memory_than_it_costs(part: bytes) -> None:
    message, framing = b"*1000\r\n" + part * 1_000, Framing()
    framing.feed(message)
    reader = hiredis.Reader(replyError=BoundedParser.parse_error)
    reader.feed(message)
    tracemalloc.start()
    read = reader.gets()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(read) == 1_000
    assert taken <= framing.cost
