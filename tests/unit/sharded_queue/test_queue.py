"""Registering: receipts in the order given, all or nothing, and errors that name what was wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from sharded_queue import (
    Handler,
    HandlerError,
    KeyRoute,
    Queue,
    QueueFull,
    Receipt,
    Route,
    RouteError,
    RuntimeStorage,
    SerializationError,
    settings,
)
from sharded_queue.queue.queue import CALL_BYTES
from sharded_queue.serializer import unpack
from sharded_queue.tube import Tube


class Job(NamedTuple):
    number: int
    thread: str = "a"
    priority: int = 0


class JobHandler(Handler):
    @classmethod
    async def route(cls, *requests: Job) -> list[Route]:
        return [Route(request.thread, request.priority) for request in requests]

    async def perform(self, *requests: Job) -> None: ...


@pytest.fixture
def queue() -> Queue:
    return Queue(RuntimeStorage())


async def depth(queue: Queue, handler: type[Handler] = JobHandler) -> int:
    return sum(state.depth for state in await queue.storage.observe(handler.all_shards()))


async def test_receipts_come_in_the_order_of_the_requests(queue: Queue) -> None:
    receipts = await queue.register(JobHandler, Job(1, "a"), Job(2, "b"), Job(3, "a"), Job(4, "a", 1))
    (shard,) = JobHandler.all_shards()
    tubes = [Tube(shard, "a", 0), Tube(shard, "b", 0), Tube(shard, "a", 0), Tube(shard, "a", 1)]

    assert [receipt.tube for receipt in receipts] == tubes
    assert receipts[2].sequence == receipts[0].sequence + 1
    assert len({receipt.sequence for receipt in receipts[:3]}) == 3


async def test_a_receipt_says_where_a_request_waits(queue: Queue) -> None:
    (receipt,) = await queue.register(JobHandler, Job(1))

    assert isinstance(receipt, Receipt)
    assert [number for number, _ in await queue.storage.peek(receipt.tube)] == [receipt.sequence]


async def test_registering_nothing_does_nothing(queue: Queue) -> None:
    assert list(await queue.register(JobHandler)) == []


async def test_routes_are_asked_for_in_one_call(queue: Queue) -> None:
    class CountedHandler(JobHandler):
        calls = 0

        @classmethod
        async def route(cls, *requests: Job) -> list[Route]:
            cls.calls += 1
            return [Route()] * len(requests)

    await queue.register(CountedHandler, *map(Job, range(100)))

    assert CountedHandler.calls == 1


@pytest.mark.parametrize(
    ("routes", "complaint"),
    [
        ([Route()], "list of 2 routes, one per request; it returned 1 route"),
        ([Route()] * 3, "it returned 3 routes"),
        (None, "it returned None"),
        (Route(), "returned one Route"),
        ([Route(), None], "a route is Route"),
        ([Route(), Route([])], "must be an int or a str"),  # type: ignore[arg-type]
        ([Route(), Route(1, 2**40)], "priority"),
    ],
)
async def test_unusable_routes_register_nothing(queue: Queue, routes: Any, complaint: str) -> None:
    class BadlyRoutedHandler(Handler):
        @classmethod
        async def route(cls, *requests: Job) -> list[Route]:
            return routes  # type: ignore[no-any-return]

        async def perform(self, *requests: Job) -> None: ...

    with pytest.raises(RouteError, match=complaint):
        await queue.register(BadlyRoutedHandler, Job(1), Job(2))

    assert await depth(queue, BadlyRoutedHandler) == 0


async def test_a_request_that_cannot_be_encoded_registers_nothing(queue: Queue) -> None:
    with pytest.raises(SerializationError, match="request 1"):
        await queue.register(JobHandler, Job(1), "no job")

    assert await depth(queue) == 0


async def test_more_requests_than_one_call_may_hold_are_refused(queue: Queue) -> None:
    settings.register_limit = 2

    with pytest.raises(QueueFull, match="QUEUE_REGISTER_LIMIT = 2"):
        await queue.register(JobHandler, *map(Job, range(3)))


async def test_more_bytes_than_one_call_may_hold_are_refused(queue: Queue) -> None:
    """A single request may be as large as `register_message_bytes` says."""

    class TextHandler(Handler):
        async def perform(self, *requests: str) -> None: ...

    settings.register_message_bytes = 4_194_304
    large = "x" * (CALL_BYTES // 2)

    with pytest.raises(QueueFull, match=r"2 requests .* more than 4,194,304: register them in parts"):
        await queue.register(TextHandler, large, large)
    await queue.register(TextHandler, "x" * (CALL_BYTES - 100))

    assert await depth(queue, TextHandler) == 1


async def test_more_priorities_than_a_thread_may_have_are_refused(queue: Queue) -> None:
    class ByNumber(Handler):
        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route("a", request) for request in requests]

        async def perform(self, *requests: int) -> None: ...

    with pytest.raises(RouteError, match=r"ByNumber.route gives thread a 101 priorities in one call.* the 100 that"):
        await queue.register(ByNumber, *range(101))

    assert await depth(queue, ByNumber) == 0


@pytest.mark.parametrize("seconds", [0, -1, 301, float("nan")])
async def test_a_time_for_redis_out_of_bounds_is_refused(queue: Queue, seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds is"):
        await queue.register(JobHandler, Job(1), timeout_seconds=seconds)


async def test_a_handlers_capacity_bounds_its_tubes(queue: Queue) -> None:
    class BoundedHandler(JobHandler):
        capacity = 2

    await queue.register(BoundedHandler, Job(1), Job(2), Job(3, "b"))

    with pytest.raises(QueueFull, match="holds 2 of 2"):
        await queue.register(BoundedHandler, Job(4))


class OnceHandler(JobHandler):
    deduplicate_seconds = 60


async def test_a_duplicate_gets_a_receipt_that_names_the_first(queue: Queue) -> None:
    (first,) = await queue.register(OnceHandler, Job(1))
    receipts = await queue.register(OnceHandler, Job(2), Job(1), Job(3), Job(2))

    assert list(receipts) == [
        Receipt(first.tube, first.sequence + 1),
        Receipt(first.tube, first.sequence, is_duplicate=True),
        Receipt(first.tube, first.sequence + 2),
        Receipt(first.tube, first.sequence + 1, is_duplicate=True),
    ]
    assert await depth(queue, OnceHandler) == 3


async def test_receipts_of_duplicates_stand_where_their_requests_do(queue: Queue) -> None:
    """Tubes alternate, so that a place in the call is not a place in the tube."""
    first = await queue.register(OnceHandler, Job(1, "a"), Job(2, "b", 1))
    receipts = await queue.register(OnceHandler, Job(3, "b"), Job(1, "a"), Job(4, "a"), Job(2, "b", 1), Job(5, "b"))

    assert [receipt.is_duplicate for receipt in receipts] == [False, True, False, True, False]
    assert [receipts[1][:2], receipts[3][:2]] == [first[0][:2], first[1][:2]]
    assert receipts[4].sequence == receipts[0].sequence + 1


async def test_headers_do_not_make_two_requests_different(queue: Queue) -> None:
    await queue.register(OnceHandler, Job(1), headers={"trace": "1"})
    (again,) = await queue.register(OnceHandler, Job(1), headers={"trace": "2"})

    assert again.is_duplicate


async def test_a_handler_names_the_identity_of_its_requests(queue: Queue) -> None:
    class NamedHandler(OnceHandler):
        @classmethod
        def identity(cls, request: Job) -> str | None:
            return None if request.number == 0 else f"{request.number % 10}"

    receipts = await queue.register(NamedHandler, Job(1), Job(11), Job(2), Job(0), Job(0, "b"))

    assert [receipt.is_duplicate for receipt in receipts] == [False, True, False, False, False]


async def test_a_name_is_not_taken_for_an_encoded_request(queue: Queue) -> None:
    class NamedHandler(OnceHandler):
        @classmethod
        def identity(cls, request: Job) -> str | None:
            return None if request.number == 0 else '[0,"a",0]'

    receipts = await queue.register(NamedHandler, Job(0), Job(1))

    assert not receipts[1].is_duplicate


async def test_an_identity_that_is_no_text_registers_nothing(queue: Queue) -> None:
    class NumberedHandler(OnceHandler):
        @classmethod
        def identity(cls, request: Job) -> str | None:
            return request.number  # type: ignore[return-value]

    with pytest.raises(HandlerError, match=r"identity must return a str or None, not 1 for Job\(number=1"):
        await queue.register(NumberedHandler, Job(1))

    assert await depth(queue, NumberedHandler) == 0


async def test_a_call_names_its_own_window(queue: Queue) -> None:
    await queue.register(JobHandler, Job(1), deduplicate_seconds=10)
    on = await queue.register(JobHandler, Job(1), deduplicate_seconds=10)
    off = await queue.register(OnceHandler, Job(1), Job(1), deduplicate_seconds=0)

    assert [receipt.is_duplicate for receipt in (*on, *off)] == [True, False, False]


@pytest.mark.parametrize("seconds", [-1, 2_592_001, float("nan"), True, "60"])
async def test_a_window_out_of_its_bounds_is_refused(queue: Queue, seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"deduplicate_seconds is .*: a number from 0 \(off\) to 2592000"):
        await queue.register(JobHandler, Job(1), deduplicate_seconds=seconds)


class Clock:
    """Milliseconds that go by when told to."""

    ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


async def test_a_schedule_registers_its_request_again_and_again() -> None:
    clock = Clock()
    queue = Queue(RuntimeStorage(clock))
    next_at = await queue.schedule(JobHandler, Job(7, "a b", 3), name="beat", every_seconds=30, headers={"k": "v"})
    (shard,) = JobHandler.all_shards()
    for _ in range(2):
        clock.ms += 30_000
        await queue.storage.register_due(shard)
    messages = [unpack(message) for _, message in await queue.storage.peek(Tube(shard, "a b", 3))]

    assert next_at == datetime.fromtimestamp(1_800_000_030, UTC)
    assert [(message.registered_ms, message.headers) for message in messages] == [
        (1_800_000_030_000, {"k": "v"}),
        (1_800_000_060_000, {"k": "v"}),
    ]
    assert JobHandler.serializer().decode_one(messages[0].body) == Job(7, "a b", 3)


async def test_schedules_are_listed_and_removed_by_name(queue: Queue) -> None:
    await queue.schedule(JobHandler, Job(1), name="nightly", cron="0 3 * * *", timezone="Europe/Berlin")
    await queue.schedule(JobHandler, Job(2), name="beat", every_seconds=30)
    listed = await queue.schedules(JobHandler)
    answers = [await queue.unschedule(JobHandler, name) for name in ("nightly", "nightly", "weekly")]

    assert [(one.name, one.timing, one.thread) for one in listed] == [
        ("beat", "every 30 s", "a"),
        ("nightly", "cron 0 3 * * * in Europe/Berlin", "a"),
    ]
    assert all(one.next_at.tzinfo is UTC for one in listed)
    assert answers == [True, False, False]
    assert [one.name for one in await queue.schedules(JobHandler)] == ["beat"]


async def test_a_schedule_that_is_routed_elsewhere_is_in_one_shard_only(queue: Queue) -> None:
    class SpreadHandler(JobHandler):
        shards = 8

    homes = {SpreadHandler.shard_of(thread): thread for thread in "abcdefgh"}
    for thread in homes.values():
        await queue.schedule(SpreadHandler, Job(1, thread), name="beat", every_seconds=30)
        assert [one.thread for one in await queue.schedules(SpreadHandler)] == [thread]

    assert len(homes) > 2
    assert await queue.unschedule(SpreadHandler, "beat")
    assert await queue.schedules(SpreadHandler) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({}, "either every_seconds or cron"),
        ({"every_seconds": 30, "cron": "* * * * *"}, "either every_seconds or cron"),
        ({"every_seconds": 30, "timezone": "Europe/Berlin"}, "an interval has no time zone"),
        ({"every_seconds": 0.5}, "a number from 1 to"),
        ({"cron": "* * *"}, "five fields"),
        ({"cron": "* * * * *", "timezone": "Mars"}, "IANA"),
        ({"every_seconds": 30, "name": ""}, "name is ''"),
        ({"every_seconds": 30, "name": "a\nb"}, "printable"),
        ({"every_seconds": 30, "name": "x" * 201}, "1 to 200"),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused(queue: Queue, words: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        await queue.schedule(JobHandler, Job(1), **{"name": "n", **words})

    assert await queue.schedules(JobHandler) == []


async def test_a_schedule_of_another_type_of_request_is_refused(queue: Queue) -> None:
    with pytest.raises(SerializationError, match="not a Job"):
        await queue.schedule(JobHandler, "no job", name="n", every_seconds=30)


class KeyedHandler(Handler):
    threads = 4

    @classmethod
    async def route(cls, *requests: Job) -> list[KeyRoute]:
        return [KeyRoute(request.thread, request.priority) for request in requests]

    async def perform(self, *requests: Job) -> None: ...


async def test_requests_of_one_call_and_thread_keep_their_order_whatever_their_keys(queue: Queue) -> None:
    class SingleHandler(KeyedHandler):
        threads = 1

    await queue.register(SingleHandler, *[Job(number, thread=str(number % 3)) for number in range(9)])
    (shard,) = SingleHandler.all_shards()
    messages = [message for _, message in await queue.storage.peek(Tube(shard, "1:0", 0))]

    assert [job.number for job in SingleHandler.serializer().read(messages)[0]] == list(range(9))


async def test_headers_and_identities_go_with_keys(queue: Queue) -> None:
    jobs = [Job(1, "k"), Job(2, "k"), Job(1, "k")]
    receipts = await queue.register(KeyedHandler, *jobs, headers={"trace": "7"}, deduplicate_seconds=60)
    ((_, message), _) = await queue.storage.peek(receipts[0].tube)

    assert [receipt.is_duplicate for receipt in receipts] == [False, False, True]
    assert unpack(message).headers == {"trace": "7"}
    assert KeyedHandler.serializer().read([message]) == ([Job(1, "k")], None)


async def test_a_spread_handler_keeps_each_key_in_its_shard(queue: Queue) -> None:
    class SpreadHandler(KeyedHandler):
        shards, threads = 2, 4

    jobs = [Job(number, str(number)) for number in range(40)]
    before = await queue.register(SpreadHandler, *jobs)
    await queue.reshard(SpreadHandler, 6)
    after = await queue.register(SpreadHandler, *jobs)

    assert [one.tube.shard for one in before] == [one.tube.shard for one in after]
    assert len({receipt.tube for receipt in before}) == 4
    assert len({receipt.tube for receipt in after}) == 6
    for receipt in after:
        assert SpreadHandler.shard_of(receipt.tube.thread) == receipt.tube.shard


async def test_only_who_routes_by_key_can_be_resharded(queue: Queue) -> None:
    with pytest.raises(RouteError, match="it declares no `threads`"):
        await queue.reshard(JobHandler, 8)
    with pytest.raises(ValueError, match="threads is 0: from 1 to 65,536"):
        await queue.reshard(KeyedHandler, 0)


async def test_a_handler_that_declares_its_threads_routes_by_key(queue: Queue) -> None:
    class MixedHandler(JobHandler):
        threads = 4

    with pytest.raises(RouteError, match="the handler declares its threads"):
        await queue.register(MixedHandler, Job(1))


async def test_a_single_route_in_place_of_a_list_is_told(queue: Queue) -> None:
    class OneRouteHandler(Handler):
        @classmethod
        async def route(cls, *requests: int) -> Any:
            return Route(3)

        async def perform(self, *requests: int) -> None: ...

    with pytest.raises(RouteError, match=r"returned one Route.*return a list with one for each request"):
        await queue.register(OneRouteHandler, 1, 2)


async def test_a_route_that_turns_out_not_to_be_async_is_told(queue: Queue) -> None:
    """A class whose `route` is a plain function is refused; what a decorator puts there is known when it is called."""

    class SyncRouteHandler(Handler):
        route = classmethod(lambda cls, *requests: [Route(3)] * len(requests))  # type: ignore[assignment]

        async def perform(self, *requests: int) -> None: ...

    with pytest.raises(RouteError, match="route must be `async def`"):
        await queue.register(SyncRouteHandler, 1)


async def test_a_delay_that_is_no_number_is_told(queue: Queue) -> None:
    class DelayedHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    with pytest.raises(ValueError, match=r"give its total_seconds\(\)"):
        await queue.register(DelayedHandler, 1, delay_seconds=timedelta(minutes=1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (int, "the class int is not a handler, which is a subclass of Handler"),
        ("a.B", "'a.B' is not a handler, .*: import the class, and give that"),
        (JobHandler(), "<.*JobHandler .*> is not a handler, .*: give its class"),
        (None, "None is not a handler"),
    ],
)
async def test_what_is_no_handler_is_refused(queue: Queue, given: Any, said: str) -> None:
    for refusing in (
        queue.register(given, Job(1)),
        queue.schedule(given, Job(1), name="a", every_seconds=1),
        queue.schedules(given),
        queue.unschedule(given, "a"),
        queue.delayed(given),
        queue.reshard(given, 4),
    ):
        with pytest.raises(HandlerError, match=said):
            await refusing
