"""Many small registrations at once: as if each had come alone, in fewer calls of Redis."""

import asyncio

import pytest

from sharded_queue import QueueFull, RouteError
from sharded_queue.backends.redis.joint import AT_ONCE, JOINED_REQUESTS
from sharded_queue.storage import MOST_PRIORITIES, Entry, First, Registered, Registration
from sharded_queue.tube import Tube
from tests.contract.backend import SHARD, Backend, RedisBackend
from tests.contract.lossy import ANSWER_LOST, COMMAND_LOST, make_lossy
from tests.contract.test_redis import commands_of, spent

MANY = 100


def registration(thread: str, body: str, priority: int = 0, identity: str | None = None) -> Registration:
    identities = [identity] if identity else []
    window = 60.0 if identity else 0.0
    return Registration([Entry(thread, priority, [body.encode()], identities)], capacity=MANY, window_seconds=window)


async def register_all(backend: Backend, registrations: list[Registration]) -> list[Registered | BaseException]:
    each = [backend.storage.register(SHARD, registration) for registration in registrations]
    return await asyncio.gather(*each, return_exceptions=True)


async def test_those_that_are_sent_together_keep_their_order(backend: Backend) -> None:
    """Of those that are under way by themselves, any may arrive first."""
    await register_all(backend, [registration(f"{number % 3}", f"{number}") for number in range(MANY)])

    for thread in range(3):
        arrived = [int(body) for body in await backend.waiting(f"{thread}")]
        assert [number for number in arrived if number >= AT_ONCE] == list(range(thread, MANY, 3))[thread < AT_ONCE :]
        assert len(arrived) == len(range(thread, MANY, 3))


async def test_each_call_learns_where_its_request_is(backend: Backend) -> None:
    answers = await register_all(backend, [registration(f"{number % 3}", f"{number}") for number in range(MANY)])

    for number, answer in enumerate(answers):
        assert isinstance(answer, Registered)
        there = dict(await backend.storage.peek(Tube(SHARD, f"{number % 3}", 0), MANY))
        assert there[answer.firsts[0]][13:] == f"{number}".encode()


async def test_a_full_tube_is_the_error_of_its_own_call(backend: Backend) -> None:
    await backend.register("full", *map(str, range(MANY)))
    calls = [registration("full" if number == 7 else f"{number}", f"{number}") for number in range(20)]
    answers = await register_all(backend, calls)

    assert [number for number, answer in enumerate(answers) if isinstance(answer, QueueFull)] == [7]
    assert sum(isinstance(answer, Registered) for answer in answers) == 19
    assert "full" in str(answers[7])
    assert await backend.waiting("19") == ["19"]


async def test_too_many_priorities_are_the_error_of_their_own_call(backend: Backend) -> None:
    calls = [registration("wide", "1", priority) for priority in range(MOST_PRIORITIES + 1)]
    answers = await register_all(backend, [*calls, registration("narrow", "1")])

    assert [isinstance(answer, QueueFull | RouteError) for answer in answers].count(True) == 1
    assert isinstance(answers[-1], Registered)


async def test_an_identity_is_registered_once(backend: Backend) -> None:
    calls = [registration(f"{number}", f"{number}", identity=f"{number % 5}") for number in range(20)]
    answers = await register_all(backend, calls)

    repeated = [answer for answer in answers if isinstance(answer, Registered) and answer.duplicates]
    assert len(repeated) == 15
    for answer in repeated:
        first = answer.duplicates[0, 0]
        assert isinstance(first, First)
        assert await backend.waiting(first.thread) == [first.thread]


@pytest.mark.redis
async def test_many_calls_at_once_are_few_calls_of_redis(on_redis: RedisBackend) -> None:
    await on_redis.register("warm", "1")
    before = await commands_of(on_redis.redis)
    await register_all(on_redis, [registration(f"{number}", f"{number}") for number in range(MANY)])

    calls = (await spent(on_redis.redis, before))["evalsha"]
    assert MANY < JOINED_REQUESTS
    assert calls <= AT_ONCE + 1


@pytest.mark.redis
@pytest.mark.parametrize("losses", [[ANSWER_LOST] * 3, [COMMAND_LOST, ANSWER_LOST, ANSWER_LOST]])
async def test_what_is_sent_again_is_registered_once(on_redis: RedisBackend, losses: list[str]) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.register("a", "first")
    link.fates.extend(losses)
    await register_all(on_redis, [registration("a", f"{number}") for number in range(10)])

    assert sorted(await on_redis.waiting("a")) == sorted(["first", *map(str, range(10))])
