"""Registrations that are sent together: who waits, what is sent, and whose answer is whose."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharded_queue import RuntimeStorage
from sharded_queue.backends.redis import joint
from sharded_queue.backends.redis.joint import AT_ONCE, JOINED_REQUESTS, SMALL_REQUESTS, Joint
from sharded_queue.errors import QueueFull, StorageUnavailable
from sharded_queue.settings import settings
from sharded_queue.storage import Entry, Registered, Registration
from sharded_queue.tube import Shard, Tube

SHARD = Shard("tests.Handler")


def registration(*bodies: str, thread: str = "a", priority: int = 0) -> Registration:
    return Registration([Entry(thread, priority, [body.encode() for body in bodies])])


def sent_bodies(sent: Registration) -> dict[str, list[str]]:
    return {entry.thread: [body.decode() for body in entry.bodies] for entry in sent.entries}


class Redis:
    """What is sent to it stays under way until `let_go`; then it numbers requests from 1, or refuses as it is told."""

    def __init__(self) -> None:
        self.sent: list[Registration] = []
        self.joint = Joint(self._register)
        self._gate = asyncio.Event()
        self._last = 0
        self.refuse: Callable[[Registration], Exception | None] = lambda _: None

    async def _register(self, shard: Shard, sent: Registration, until: float | None) -> Registered:
        self.sent.append(sent)
        await self._gate.wait()
        if error := self.refuse(sent):
            raise error
        firsts = []
        for entry in sent.entries:
            firsts.append(self._last + 1)
            self._last += len(entry.bodies)
        return Registered(firsts, {})

    def let_go(self) -> None:
        self._gate.set()

    async def register(self, *bodies: str, thread: str = "a", seconds: float | None = None) -> Registered:
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        return await self.joint.register(SHARD, registration(*bodies, thread=thread), until)


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Redis, list[asyncio.Task[Registered]]]]:
    """A Redis to which as many registrations are under way as are sent by themselves."""
    redis = Redis()
    under_way = [asyncio.create_task(redis.register(f"first {number}")) for number in range(AT_ONCE)]
    await asyncio.sleep(0)
    assert len(redis.sent) == AT_ONCE
    yield redis, under_way
    redis.let_go()
    await asyncio.gather(*under_way, return_exceptions=True)
    await settled()
    assert not redis.joint._under_way
    assert not redis.joint._waiting


async def settled() -> None:
    """All tasks have come as far as they can without time going by."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_registration_that_is_alone_is_sent_at_once() -> None:
    redis = Redis()
    redis.let_go()

    assert await redis.register("1") == Registered([1], {})
    assert await redis.register("2") == Registered([2], {})
    assert len(redis.sent) == 2


async def test_those_that_come_meanwhile_are_sent_as_one_in_order() -> None:
    async with busy() as (redis, _):
        later = [asyncio.create_task(redis.register(str(number), thread="b")) for number in range(5)]
        other = asyncio.create_task(redis.register("x", "y", thread="c"))
        await settled()
        assert len(redis.sent) == AT_ONCE
        redis.let_go()
        answers = await asyncio.gather(*later, other)

        assert [sent_bodies(sent) for sent in redis.sent[AT_ONCE:]] == [
            {"b": ["0", "1", "2", "3", "4"], "c": ["x", "y"]}
        ]
        assert [answer.firsts for answer in answers] == [[3], [4], [5], [6], [7], [8]]


async def test_those_of_other_limits_or_of_another_shard_are_not_sent_together() -> None:
    async with busy() as (redis, _):
        capped = asyncio.create_task(redis.joint.register(SHARD, registration("1")._replace(capacity=5), None))
        elsewhere = asyncio.create_task(redis.joint.register(Shard("tests.Other"), registration("1"), None))
        await settled()

        assert len(redis.sent) == AT_ONCE + 2
        redis.let_go()
        await asyncio.gather(capped, elsewhere)


async def test_a_large_one_neither_waits_nor_is_joined() -> None:
    async with busy() as (redis, _):
        large = [str(number) for number in range(SMALL_REQUESTS + 1)]
        task = asyncio.create_task(redis.register(*large))
        await settled()

        assert sent_bodies(redis.sent[-1]) == {"a": large}
        redis.let_go()
        await task


async def test_what_is_sent_as_one_is_bounded() -> None:
    async with busy() as (redis, _):
        later = [asyncio.create_task(redis.register("1")) for _ in range(2 * JOINED_REQUESTS + 1)]
        await settled()
        redis.let_go()
        await asyncio.gather(*later)

        sizes = [len(sent.entries[0].bodies) for sent in redis.sent[AT_ONCE:]]
        assert sum(sizes) == 2 * JOINED_REQUESTS + 1
        assert max(sizes) <= JOINED_REQUESTS


async def test_the_error_of_one_is_not_that_of_another() -> None:
    async with busy() as (redis, _):
        redis.refuse = lambda sent: QueueFull("full") if "full" in sent_bodies(sent) else None
        good = [asyncio.create_task(redis.register("1", thread="b"))]
        bad = asyncio.create_task(redis.register("2", thread="full"))
        good += [asyncio.create_task(redis.register("3", thread="b"))]
        await settled()
        redis.let_go()
        first, refused, last = await asyncio.gather(good[0], bad, good[1], return_exceptions=True)

        assert isinstance(refused, QueueFull)
        assert (first, last) == (Registered([3], {}), Registered([4], {}))


async def test_an_error_of_redis_is_that_of_all() -> None:
    async with busy() as (redis, _):
        redis.refuse = lambda _: StorageUnavailable("gone", is_uncertain=True)
        later = [asyncio.create_task(redis.register("1")) for _ in range(3)]
        await settled()
        redis.let_go()

        for answer in await asyncio.gather(*later, return_exceptions=True):
            assert isinstance(answer, StorageUnavailable)
            assert answer.is_uncertain


async def test_one_that_gives_up_before_it_is_sent_is_never_sent() -> None:
    async with busy() as (redis, _):
        impatient = asyncio.create_task(redis.register("impatient", seconds=0.01))
        cancelled = asyncio.create_task(redis.register("cancelled"))
        patient = asyncio.create_task(redis.register("patient"))
        await settled()
        cancelled.cancel()
        with pytest.raises(StorageUnavailable, match="no earlier registration") as caught:
            await impatient
        redis.let_go()
        await patient

        assert not caught.value.is_uncertain
        assert [sent_bodies(sent) for sent in redis.sent[AT_ONCE:]] == [{"a": ["patient"]}]


async def test_one_that_gives_up_after_it_was_sent_is_uncertain_and_harms_nobody() -> None:
    async with busy() as (redis, under_way):
        impatient = asyncio.create_task(redis.register("impatient", seconds=0.05))
        patient = asyncio.create_task(redis.register("patient"))
        await settled()
        under_way[0].cancel()  # its place is free, and those that wait are sent
        await settled()
        assert len(redis.sent) == AT_ONCE + 1
        with pytest.raises(StorageUnavailable, match="may have been registered") as caught:
            await impatient
        redis.let_go()

        assert caught.value.is_uncertain
        assert (await patient).firsts != []


async def test_one_without_a_limit_of_its_own_waits_as_long_as_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "redis_retry", 0.01)
    async with busy() as (redis, _):
        with pytest.raises(StorageUnavailable, match="no earlier registration"):
            await redis.register("1")


identities = st.lists(st.sampled_from("xyz"), min_size=1, max_size=3)
entries = st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(0, 1)), identities, min_size=1, max_size=2)
calls = st.lists(entries, min_size=1, max_size=5)
Calls = list[dict[tuple[str, int], list[str]]]


def registrations_of(calls: Calls, window_seconds: float) -> list[Registration]:
    """One for each call, of requests that all differ; with a window, the letters are their identities."""
    numbers = count()
    return [
        Registration(
            [
                Entry(*tube, [b"%d" % next(numbers) for _ in names], names if window_seconds else ())
                for tube, names in call.items()
            ],
            window_seconds=window_seconds,
        )
        for call in calls
    ]


async def register_joined(
    storage: RuntimeStorage, registrations: list[Registration]
) -> tuple[list[Registered], dict[Tube, dict[int, bytes]]]:
    """The answer to each; and the requests by their numbers, per tube."""
    registration, places = joint.join(registrations)
    whole = await storage.register(SHARD, registration)
    return [joint.part_of(whole, its) for its in places], await waiting_in(storage, registration)


async def waiting_in(storage: RuntimeStorage, registration: Registration) -> dict[Tube, dict[int, bytes]]:
    tubes = [Tube(SHARD, entry.thread, entry.priority) for entry in registration.entries]
    return {tube: {number: text[13:] for number, text in await storage.peek(tube, 100)} for tube in tubes}


@given(calls)
async def test_each_tube_holds_what_it_would_hold_if_each_had_come_alone(calls: Calls) -> None:
    alone, registrations = RuntimeStorage(), registrations_of(calls, 0)
    for registration in registrations:
        await alone.register(SHARD, registration)
    _, together = await register_joined(RuntimeStorage(), registrations)

    for tube, waiting in together.items():
        assert list(waiting.values()) == [text[13:] for _, text in await alone.peek(tube, 100)]


@given(calls, st.sampled_from([0.0, 60.0]))
async def test_each_answer_says_where_its_requests_are(calls: Calls, window_seconds: float) -> None:
    registrations = registrations_of(calls, window_seconds)
    answers, waiting = await register_joined(RuntimeStorage(), registrations)

    for registration, answer in zip(registrations, answers, strict=True):
        for index, entry in enumerate(registration.entries):
            there = waiting[Tube(SHARD, entry.thread, entry.priority)]
            new = [body for place, body in enumerate(entry.bodies) if (index, place) not in answer.duplicates]
            assert [there[answer.firsts[index] + n] for n in range(len(new))] == new


@given(calls)
async def test_an_identity_is_new_once_and_its_duplicates_say_where(calls: Calls) -> None:
    """Which of the calls that come together is the first one is not promised."""
    registrations = registrations_of(calls, 60.0)
    answers, waiting = await register_joined(RuntimeStorage(), registrations)
    identity_of = {
        body: identity
        for registration in registrations
        for entry in registration.entries
        for body, identity in zip(entry.bodies, entry.identities, strict=True)
    }

    new = Counter(identity_of[body] for there in waiting.values() for body in there.values())
    assert set(new.values()) == {1}
    for registration, answer in zip(registrations, answers, strict=True):
        for (index, place), (thread, priority, number) in answer.duplicates.items():
            it = identity_of[waiting[Tube(SHARD, thread, priority)][number]]
            assert it == registration.entries[index].identities[place]
