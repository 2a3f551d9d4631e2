"""What only Redis can get wrong: commands sent again, full memory, restarts, and the number of its commands."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sharded_queue import Queue, QueueFull, SettingsError, StorageUnavailable, Worker, settings
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.scripts import source
from sharded_queue.backends.redis.storage import PACKED_MESSAGES, RedisStorage, encode_entries
from sharded_queue.coordinator import BindRequest
from sharded_queue.handler import Handler
from sharded_queue.storage import Entry, Registration, Schedule, Settlement
from sharded_queue.timing import every
from sharded_queue.tube import Keys, Shard, Tube
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, COMMAND_LOST, make_lossy
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis
OwnMedium = Callable[..., tuple[RedisServer, RedisBackend]]
CLIENT_COMMANDS = {"evalsha", "eval", "script|load", "blpop", "publish", "zrevrange"}
"""Commands that our clients send; all others are called by scripts."""


@pytest.fixture(params=[2, 3])
async def either_protocol(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[RedisBackend]:
    client = Redis(host="127.0.0.1", port=redis_server.port, protocol=request.param)
    await client.flushall()
    yield RedisBackend(client)
    await client.aclose()


async def commands_of(redis: Redis) -> dict[str, int]:
    """The calls of each command so far. All scripts are loaded first, so that a test counts the work alone."""
    for script in (files("sharded_queue.backends.redis") / "lua").iterdir():
        if not script.name.startswith("_"):
            await redis.script_load(source(script.name.removesuffix(".lua")))
    return await calls_of(redis)


async def calls_of(redis: Redis) -> dict[str, int]:
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): values["calls"] for name, values in stats.items()}


async def spent(redis: Redis, before: dict[str, int]) -> dict[str, int]:
    after = await calls_of(redis)
    changed = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in changed.items() if count and name not in {"info", "config|resetstat"}}


def sent(spent: dict[str, int]) -> int:
    return sum(count for name, count in spent.items() if name in CLIENT_COMMANDS)


@pytest.mark.parametrize("losses", [[ANSWER_LOST], [ANSWER_LOST, ANSWER_LOST], [COMMAND_LOST, ANSWER_LOST]])
async def test_a_registration_whose_answer_was_lost_is_carried_out_once(
    on_redis: RedisBackend, losses: list[str]
) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.register("a", "1")
    link.fates.extend(losses)
    first = await on_redis.register("a", "2", "3")

    assert await on_redis.waiting("a") == ["1", "2", "3"]
    assert [number for number, _ in await on_redis.storage.peek(tube("a"))][1] == first


async def test_a_shard_at_rest_is_observed_in_seven_commands(on_redis: RedisBackend) -> None:
    """An operator reads thousands of them each second."""
    await on_redis.register("a", "1")
    await on_redis.settle(await on_redis.bind_one(), release=True)
    before = await commands_of(on_redis.redis)
    await on_redis.observe()

    inside = await spent(on_redis.redis, before)
    assert sum(inside.values()) - inside["evalsha"] <= 7, inside


async def test_registrations_of_one_storage_at_once_are_told_apart(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.redis_storage)
    link.fates.extend([ANSWER_LOST] * 10)
    await asyncio.gather(*[on_redis.register("a", str(n)) for n in range(20)])

    assert sorted(await on_redis.waiting("a"), key=int) == [str(n) for n in range(20)]


async def test_a_registration_that_comes_late_changes_nothing(on_redis: RedisBackend) -> None:
    """The first sending was held up on its way and arrives after the producer's next call."""
    sent: list[tuple[str, ...]] = []
    link = make_lossy(on_redis.redis_storage)
    original = link.send

    async def recording(key: str, *command: object, seconds: float) -> object:
        sent.append(command)  # type: ignore[arg-type]
        return await original(key, *command, seconds=seconds)

    link.send = recording  # type: ignore[method-assign]
    await on_redis.register("a", "1")
    late = next(command for command in sent if command[0] == "EVALSHA")
    await on_redis.register("a", "2")
    await original("x", *late, seconds=5)

    assert await on_redis.waiting("a") == ["1", "2"]


@pytest.mark.parametrize("said", [-1, 1 - PACKED_MESSAGES, -1 - PACKED_MESSAGES])
async def test_a_registration_with_another_number_of_messages_than_it_says_is_refused_whole(
    on_redis: RedisBackend, said: int
) -> None:
    """No caller of ours sends such a registration; a producer in another language may."""
    await on_redis.register("a", "1")
    keys = [*on_redis.redis_storage.keys.of(SHARD), f"{on_redis.redis_storage.keys.base(SHARD)}:p:caller"]
    stamp = b"%d" % int(time.time() * 1000)
    many = [b"3"] * PACKED_MESSAGES
    entries = encode_entries([Entry("a", 0, [b"2"]), Entry("b", 0, many)], [[1], [1] * len(many)], stamp)
    assert entries[-2] == -len(many)
    head = [1, stamp, 1000, "awake", SHARD.tag, 0, 0, 0, "", 20]

    with pytest.raises(ResponseError, match=f"{PACKED_MESSAGES} messages, not {-said}"):
        await on_redis.redis_storage.scripts.call("register", keys, [*head, *entries[:-2], said, entries[-1]], 5)

    assert (await on_redis.waiting("a"), await on_redis.waiting("b")) == (["1"], [])


@pytest.mark.parametrize(
    ("packed", "said", "window_ms", "fault"),
    [
        (b"\xdd\x00\x00\x00\x02\xa14\x90", 2, 0, "a message is a table"),
        (b"\xdd\x00\x00\x00\x02\xa14\x05", 2, 0, "a message is a number"),
        (b"\xdd\x00\x00\x00\x02\xa14\xc3", 2, 0, "a message is a boolean"),
        (b"\xdd\x00\x00\x00\x04\xa14\xc0\xa15\xa16", 4, 0, "a message is a nil"),
        (b"\xdd\x00\x00\x00\x02\xa14\xc0", 2, 0, "1 messages, not 2"),
        (b"\xdd\x00\x00\x00\x02\xa14\xa15", 2, 1000, "with a window"),
        (b"not MessagePack", 2, 0, "0 messages, not 2"),
    ],
)
async def test_messages_in_one_argument_that_are_no_list_of_strings_are_refused_whole(
    on_redis: RedisBackend, packed: bytes, said: int, window_ms: int, fault: str
) -> None:
    keys = [*on_redis.redis_storage.keys.of(SHARD), f"{on_redis.redis_storage.keys.base(SHARD)}:p:caller"]
    stamp = b"%d" % int(time.time() * 1000)
    head = [1, stamp, 1000, "awake", SHARD.tag, 0, 0, window_ms, "", 20]
    first = ["a", 0, 1, stamp + b"1", *(["i"] if window_ms else [])]

    with pytest.raises(ResponseError, match=fault):
        await on_redis.redis_storage.scripts.call("register", keys, [*head, *first, "b", 0, -said, packed], 5)

    assert (await on_redis.waiting("a"), await on_redis.waiting("b")) == ([], [])


async def test_a_producer_forgets_its_calls_in_time_and_so_does_redis(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    (key,) = [key async for key in on_redis.redis.scan_iter("*:caller")]

    assert settings.redis_retry < await on_redis.redis.ttl(key) <= 600


def test_a_registration_is_never_sent_again_after_redis_forgot_it() -> None:
    with pytest.raises(ValueError, match="QUEUE_REDIS_RETRY"):
        settings.redis_retry = 500


async def test_a_settlement_whose_answer_was_lost_hands_out_the_same_batch(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.register("a", "1", "2", "3")
    batch = await on_redis.bind_one(wanted=1)
    link.fates.append(ANSWER_LOST)
    settled = await on_redis.settle(batch, wanted=1)

    assert handed(settled.batch) == ["2"]
    assert await on_redis.waiting("a") == ["2", "3"]


async def test_a_releasing_settlement_whose_answer_was_lost_is_no_loss(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one()
    link.fates.append(ANSWER_LOST)
    settled = await on_redis.settle(batch, release=True)

    assert (settled.is_released, settled.is_lost) == (True, False)


async def test_a_failure_whose_answer_was_lost_puts_off_once(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one()
    link.fates.append(ANSWER_LOST)
    held = await on_redis.fail(batch, delay=1)
    await on_redis.advance(2)

    assert held
    assert (await on_redis.bind_one()).attempt == 2


async def test_a_bind_whose_answer_was_lost_binds_the_same_threads_again(on_redis: RedisBackend) -> None:
    await on_redis.bind()  # the script is there, so that the answer that gets lost is the script's own
    link = make_lossy(on_redis.coordinator)
    await on_redis.register("a", "1")
    await on_redis.register("b", "2")
    link.fates.append(ANSWER_LOST)
    batches = await on_redis.bind(threads=1)
    state = await on_redis.observe()

    assert [batch.lease.thread for batch in batches] == ["a"]
    assert (state.bound, state.ready) == (1, 1)


async def test_commands_are_sent_again_until_redis_is_back(own_backend: OwnMedium) -> None:
    server, backend = own_backend(appendonly="yes")
    await backend.register("a", "1")
    server.stop()
    registering = asyncio.create_task(backend.register("a", "2"))
    await asyncio.sleep(0)
    await asyncio.to_thread(server.start)

    async with asyncio.timeout(10):
        await registering
    assert await backend.waiting("a") == ["1", "2"]


async def test_a_registration_gives_up_after_its_time(own_backend: OwnMedium) -> None:
    server, backend = own_backend()
    server.stop()
    settings.redis_retry = 0.1

    with pytest.raises(StorageUnavailable, match=r"in 0\.1 s"):
        await backend.register("a", "1")


async def test_a_redis_that_hangs_is_noticed(own_backend: OwnMedium) -> None:
    server, backend = own_backend()
    await backend.register("a", "1")
    settings.redis_retry, settings.redis_timeout = 0.1, 0.1
    server.pause()

    with pytest.raises(StorageUnavailable):
        await backend.register("a", "2")
    server.resume()


class Plain(Handler):
    async def perform(self, *requests: str) -> None: ...


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_producer_says_how_long_it_waits_for_redis(own_backend: OwnMedium, is_known: bool) -> None:
    """By the settings it would wait for five minutes, for the first answer of this Redis as for a later one."""
    server, backend = own_backend()
    if is_known:
        await backend.register("a", "1")
    settings.redis_retry = settings.redis_timeout = 300.0
    server.pause()

    with pytest.raises(StorageUnavailable, match=r"no answer of Redis in 0\.\d+ s") as refused:
        await Queue(backend.storage).register(Plain, "2", timeout_seconds=0.2)
    server.resume()

    assert refused.value.is_uncertain


async def test_a_hung_registration_that_redis_carried_out_later_is_not_doubled(
    own_backend: OwnMedium,
) -> None:
    server, backend = own_backend()
    await backend.register("a", "1")
    settings.redis_timeout = 0.1
    server.pause()
    registering = asyncio.create_task(backend.register("a", "2"))
    await asyncio.sleep(0.3)  # several sendings wait in the sockets of a server that does not read
    server.resume()
    await registering

    assert await backend.waiting("a") == ["1", "2"]


async def test_scripts_are_loaded_again_when_redis_forgot_them(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    await on_redis.redis.script_flush()
    await on_redis.register("a", "2")

    assert await on_redis.waiting("a") == ["1", "2"]


async def test_everything_works_over_either_protocol(either_protocol: RedisBackend) -> None:
    backend = either_protocol
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)
    await backend.fail(batch, delay=None, error="E")
    state = await backend.observe()
    dead = await backend.storage.dead(SHARD)

    assert (state.depth, state.deepest, state.oldest[0].depth) == (2, [("a", 2)], 2)
    assert [(letter.error, letter.message[13:]) for letter in dead] == [("E", b"1")]
    assert dead[0].died_ms > 1_600_000_000_000


async def test_a_redis_at_its_memory_limit_still_drains(own_backend: OwnMedium) -> None:
    _, backend = own_backend()
    for thread in "abcd":
        await backend.register(thread, "1", "2")
    await backend.redis.config_set("maxmemory", "1mb")

    with pytest.raises(QueueFull, match="memory limit"):
        await backend.register("a", "3")

    a, b, c, d = await backend.bind(threads=4, wanted=1)
    assert handed((await backend.settle(a, wanted=1)).batch) == ["2"]
    assert await backend.fail(b, delay=None)
    assert await backend.fail(c, delay=10)
    assert await backend.coordinator.renew([d.lease], LEASE_SECONDS) == []
    await backend.release(d.lease)
    state = await backend.observe()
    assert (state.depth, state.bound, state.blocked, state.dead) == (6, 2, 1, 1)


async def test_a_registration_that_was_carried_out_is_not_called_full(own_backend: OwnMedium) -> None:
    """Its answer was lost, and Redis reached its memory limit before it was sent again."""
    _, backend = own_backend()
    await backend.register("a", "1")
    link, original = make_lossy(backend.redis_storage), Redis.config_set
    link.fates.append(ANSWER_LOST)
    settings.redis_retry = 0.3

    async def fill_up(answer: object) -> object:
        await original(backend.redis, "maxmemory", "1mb")
        return answer

    send = link.send

    async def filling(key: str, *command: object, seconds: float) -> object:
        try:
            return await send(key, *command, seconds=seconds)
        finally:
            await fill_up(None)

    link.send = filling  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable):
        await backend.register("a", "2")
    assert await backend.waiting("a") == ["1", "2"]


async def test_binding_costs_the_same_commands_whatever_number_of_threads(on_redis: RedisBackend) -> None:
    costs = []
    for threads in (100, 10_000):
        await on_redis.redis.flushall()
        await on_redis.storage.register(SHARD, Registration([Entry(f"t{n}", 0, [b"1"]) for n in range(threads)]))
        await on_redis.bind()
        before = await commands_of(on_redis.redis)
        await on_redis.bind()
        costs.append(await spent(on_redis.redis, before))

    assert costs[0] == costs[1]
    assert sent(costs[0]) == 1


async def test_who_asks_for_no_window_pays_nothing_for_it(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    before = await commands_of(on_redis.redis)
    await on_redis.register("a", "2")

    looking = {"zscore", "zmscore", "zrangebyscore", "zrange", "pexpireat"}
    assert not looking & set(await spent(on_redis.redis, before))
    assert not [key async for key in on_redis.redis.scan_iter("*:identities")]


async def test_no_script_looks_through_keys(on_redis: RedisBackend) -> None:
    before = await commands_of(on_redis.redis)
    for thread in "abc":
        await on_redis.register(thread, "1", "2")
    a, b, c = await on_redis.bind(threads=3, wanted=1)
    await on_redis.settle(a, wanted=1)
    await on_redis.fail(b, delay=None)
    await on_redis.fail(c, delay=1)
    await on_redis.coordinator.renew([a.lease], LEASE_SECONDS)
    await on_redis.observe()
    await on_redis.storage.peek(tube("a"))
    await on_redis.release(a.lease)

    assert not {"keys", "scan", "hscan", "zscan", "dbsize"} & set(await spent(on_redis.redis, before))


async def test_many_threads_are_settled_in_one_command(on_redis: RedisBackend) -> None:
    await on_redis.storage.register(SHARD, Registration([Entry(f"t{n}", 0, [b"1"]) for n in range(100)]))
    batches = await on_redis.bind(threads=100)
    before = await commands_of(on_redis.redis)
    await on_redis.storage.settle([Settlement(batch.lease, 0, batch.last, release=True) for batch in batches])

    assert sent(await spent(on_redis.redis, before)) == 1
    assert (await on_redis.observe()).depth == 0


async def test_more_threads_than_lua_hands_over_at_a_time_are_bound_renewed_and_settled(on_redis: RedisBackend) -> None:
    await on_redis.storage.register(SHARD, Registration([Entry(f"t{n}", 0, [b"1"]) for n in range(9000)]))
    batches = await on_redis.bind(threads=9000)
    lost = await on_redis.coordinator.renew([batch.lease for batch in batches], LEASE_SECONDS)
    settled = await on_redis.storage.settle([Settlement(batch.lease, 0, batch.last, release=True) for batch in batches])
    state = await on_redis.observe()

    assert (len(batches), lost, sum(each.is_released for each in settled)) == (9000, [], 9000)
    assert (state.depth, state.threads, state.bound, state.ready) == (0, 0, 0, 0)


async def test_nothing_is_left_of_threads_that_ended(on_redis: RedisBackend) -> None:
    """Of one request, of several, and of one that failed before: but for its failure, which is kept for a day."""
    await on_redis.register("a", "1")
    await on_redis.fail(await on_redis.bind_one(), delay=1)
    await on_redis.advance(2)
    await on_redis.register("b", "2")
    await on_redis.register("c", "3", "4")
    batches = await on_redis.bind(threads=3)
    await on_redis.storage.settle([Settlement(batch.lease, 0, batch.last, release=True) for batch in batches])
    keys = {key.decode().rpartition("}")[2] async for key in on_redis.redis.scan_iter("*")}

    base = on_redis.redis_storage.keys.base(SHARD)
    of_a_day = {":failed", ":history"}
    of_calls = {key for key in keys if key.endswith(":caller")}
    assert keys - of_calls == {":counters", ":wake"} | of_a_day
    assert all([0 < await on_redis.redis.pttl(base + key) <= 86_400_000 for key in of_a_day])


async def woken(on_redis: RedisBackend, *threads: str) -> Callable[[], Awaitable[int]]:
    """Register a request in each thread; returns a function that counts the wake-ups which no worker has taken."""
    await on_redis.storage.register(SHARD, Registration([Entry(thread, 0, [b"1"]) for thread in threads]))
    wake = f"{on_redis.redis_storage.keys.base(SHARD)}:wake"

    async def left() -> int:
        return int(await on_redis.redis.llen(wake))

    assert await left() == len(threads)
    return left


async def test_a_bind_that_leaves_no_thread_ready_takes_back_the_wake_ups_for_them(on_redis: RedisBackend) -> None:
    """Workers would poll in vain for each of them."""
    left = await woken(on_redis, "a", "b", "c")
    await on_redis.bind(threads=4)

    assert await left() == 0


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_worker_without_more_room_leaves_the_wake_ups_to_others(on_redis: RedisBackend, threads: int) -> None:
    """Some may be about a back-off, and this worker has no room for the thread when it ends."""
    left = await woken(on_redis, "a", "b")
    await on_redis.bind(threads=threads)

    assert await left() == 2


async def test_a_worker_that_may_not_bind_leaves_the_wake_ups_to_others(on_redis: RedisBackend) -> None:
    left = await woken(on_redis, "a", "b")
    await on_redis.coordinator.cordon(SHARD, ["leaving"], 60)
    await on_redis.bind("leaving/1", threads=4)
    assert await left() == 2

    await on_redis.storage.pause(SHARD, None, True)
    await on_redis.bind(threads=4)
    assert await left() == 2


async def test_all_states_are_read_in_one_round_trip(on_redis: RedisBackend) -> None:
    """No command waits for the answer of another: all are in the pipe at once."""
    calls = 0
    storage = on_redis.redis_storage
    send_all = storage.link.send_all

    async def counting(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        return await send_all(*arguments, **keywords)  # type: ignore[arg-type]

    storage.link.send_all = counting  # type: ignore[method-assign, assignment]
    await on_redis.observe()
    calls = 0
    await storage.observe([Shard(f"tests.H{n}") for n in range(50)])

    assert calls == 1


async def test_reading_a_state_costs_the_same_whatever_number_of_threads(on_redis: RedisBackend) -> None:
    costs = []
    for threads in (100, 10_000):
        await on_redis.redis.flushall()
        await on_redis.storage.register(SHARD, Registration([Entry(f"t{n}", 0, [b"1", b"2"]) for n in range(threads)]))
        before = await commands_of(on_redis.redis)
        await on_redis.observe()
        costs.append(await spent(on_redis.redis, before))

    assert costs[0] == costs[1]


async def test_all_keys_of_a_script_share_a_hash_tag(on_redis: RedisBackend) -> None:
    """What is not tagged with the shard would sit on another node of a Cluster."""
    await on_redis.register("a", "1", "2", "3", "4")
    batch = await on_redis.bind_one()
    await on_redis.fail(batch, delay=None)
    await on_redis.fail(batch._replace(first=batch.first + 1), delay=5)
    await on_redis.storage.register(SHARD, Registration([Entry("a", 0, [b"5"], ["5"])], window_seconds=60))
    await on_redis.storage.schedule(SHARD, Schedule("n", every(60), "a", 0, b"6"))
    keys = [key.decode() async for key in on_redis.redis.scan_iter("*")]

    assert len(keys) > 5
    assert [key for key in keys if "{tests.Handler}" not in key] == []


async def test_prefixes_keep_queues_of_one_redis_apart(on_redis: RedisBackend) -> None:
    other = RedisStorage(on_redis.redis, keys=Keys("other_", "their_"))
    await other.register(SHARD, Registration([Entry("a", 0, [b"1"])]))

    assert await on_redis.bind() == []


async def test_the_first_request_of_an_empty_queue_is_called_out(on_redis: RedisBackend) -> None:
    pubsub = on_redis.redis.pubsub()
    await pubsub.subscribe(on_redis.redis_storage.keys.awake)
    await pubsub.get_message(timeout=2)
    await on_redis.register("a", "1")
    await on_redis.register("b", "2")
    first = await pubsub.get_message(timeout=2)
    second = await pubsub.get_message(timeout=0.1)
    await pubsub.aclose()

    assert (first and first["data"], second) == (b"tests.Handler", None)


async def test_a_list_cut_behind_our_back_does_not_stop_its_thread(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1", "2", "3")
    await on_redis.register("b", "4")
    await on_redis.redis.delete(f"{on_redis.redis_storage.keys.base(SHARD)}/a/0")

    assert [handed(batch) for batch in await on_redis.bind(threads=2)] == [["4"]]
    assert (await on_redis.observe()).depth == 1


async def test_one_thread_costs_two_commands_a_hundred_requests_at_most(on_redis: RedisBackend) -> None:
    class CountedHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    queue = Queue(on_redis.storage)
    for part in (range(640), range(640, 1280)):
        await queue.register(CountedHandler, *part)
    worker = Worker(on_redis.coordinator, queue, handlers=[CountedHandler])
    before = await commands_of(on_redis.redis)
    handled = await worker.loop(1280)

    assert handled == 1280
    assert sent(await spent(on_redis.redis, before)) <= 12.8


async def test_an_idle_worker_sends_less_than_one_command_a_second(on_redis: RedisBackend) -> None:
    class IdleHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    settings.coordinator_delay = 0.05  # time twenty times as fast: what a second is by default is 50 ms here
    worker = Worker(on_redis.coordinator, Queue(on_redis.storage), handlers=[IdleHandler])
    looping = asyncio.create_task(worker.loop())
    await asyncio.sleep(0.5)
    before = await commands_of(on_redis.redis)
    await asyncio.sleep(2)
    commands = sent(await spent(on_redis.redis, before))
    worker.stop()
    await looping

    assert 0 < commands < 2 / 0.05


async def test_an_idle_worker_of_many_shards_sends_less_than_one_command_a_second(on_redis: RedisBackend) -> None:
    class WideHandler(Handler):
        shards = 64

        async def perform(self, *requests: int) -> None: ...

    settings.coordinator_delay, settings.coordinator_lease = 0.005, 0.2  # time two hundred times as fast
    worker = Worker(on_redis.coordinator, Queue(on_redis.storage), handlers=[WideHandler])
    looping = asyncio.create_task(worker.loop())
    await asyncio.sleep(3)  # until its looks are as rare as they get: 4 seconds a shard
    before = await commands_of(on_redis.redis)
    began = time.monotonic()
    await asyncio.sleep(1.5)
    commands, seconds = sent(await spent(on_redis.redis, before)), (time.monotonic() - began) / 0.005
    worker.stop()
    await looping

    assert 0 < commands < seconds


async def test_a_wait_for_many_shards_is_ended_over_one_connection(on_redis: RedisBackend) -> None:
    """Sixty-four at once, with TLS, took all the time of their process for longer than a lease."""
    shards = [Shard("tests.Handler", number) for number in range(64)]
    waiting = asyncio.create_task(on_redis.coordinator.wait(shards, "w/1", 30))
    while not (await on_redis.redis.info("clients"))["blocked_clients"]:  # noqa: ASYNC110 - Redis alone knows that the wait arrived
        await asyncio.sleep(0.01)
    before = (await on_redis.redis.info("stats"))["total_connections_received"]
    await on_redis.coordinator.cancel_wait(shards, "w/1")

    assert await waiting is None
    assert (await on_redis.redis.info("stats"))["total_connections_received"] <= before + 1


def tube(thread: str) -> Tube:
    return Tube(SHARD, thread, 0)


async def test_a_redis_that_throws_requests_away_is_refused(own_backend: OwnMedium) -> None:
    _, backend = own_backend(**{"maxmemory-policy": "allkeys-lru"})

    with pytest.raises(SettingsError, match=r"allkeys-lru.*QUEUE_REDIS_EVICTION"):
        await backend.register("a", "1")


async def test_a_redis_that_throws_requests_away_is_used_when_accepted(own_backend: OwnMedium) -> None:
    _, backend = own_backend(**{"maxmemory-policy": "allkeys-lru"})
    settings.redis_eviction = "Accepted"
    await backend.register("a", "1")

    assert await backend.waiting("a") == ["1"]


async def test_storages_and_coordinators_that_come_and_go_take_no_connections_with_them(
    redis_server: RedisServer,
) -> None:
    """Each kept its own once, until the pool of their client had none left and every command failed."""
    async with Redis(host="127.0.0.1", port=redis_server.port, max_connections=3) as client:
        await client.flushall()
        for _ in range(10):
            storage, coordinator = RedisStorage(client), RedisCoordinator(client)
            coordinator.attach(storage)
            await storage.observe([SHARD])
            bound = await coordinator.bind(SHARD, BindRequest("owner/1", 1, 1, LEASE_SECONDS))

            assert bound.batches == []
