"""How a handler is declared, and what a wrong declaration says."""

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from types import FunctionType
from typing import Any, Generic, NamedTuple, TypeVar

import pytest

from sharded_queue import Handler, HandlerError, HandlerNotFound, Retry, Route, Snooze, settings
from sharded_queue.handler import (
    ageing_of,
    batch_size_of,
    call,
    find,
    known,
    linger_of,
    misspelt_in,
    request_type,
    turn_of,
)

T = TypeVar("T")


class Job(NamedTuple):
    number: int


def test_a_handler_is_named_by_module_and_class() -> None:
    class MailHandler(Handler):
        async def perform(self, *requests: Job) -> None: ...

    assert MailHandler.name.endswith("test_handler.test_a_handler_is_named_by_module_and_class.MailHandler")


def test_a_handler_is_found_by_its_name() -> None:
    class NamedHandler(Handler):
        name = "mail.v2"

        async def perform(self, *requests: Job) -> None: ...

    assert find("mail.v2") is NamedHandler


def test_an_unknown_name_lists_what_is_known() -> None:
    class KnownHandler(Handler):
        name = "known.one"

        async def perform(self, *requests: Job) -> None: ...

    with pytest.raises(HandlerNotFound, match=r"'nobody'; known here: .*known\.one") as caught:
        find("nobody")

    assert isinstance(caught.value, LookupError)
    assert KnownHandler.name == "known.one"


def test_a_base_class_that_handles_nothing_is_not_served() -> None:
    class RoutingHandler(Handler):
        name = "only.routes"

        @classmethod
        async def route(cls, *requests: Job) -> list[Route]:
            return [Route()]

    assert RoutingHandler.name not in known()


@pytest.mark.parametrize("name", ["", "7up", "a b", "a/b", "a{b}", "x" * 201, "a\n"])
def test_a_name_that_no_key_can_hold_is_refused(name: str) -> None:
    with pytest.raises(HandlerError, match="must be letters"):
        type("BadHandler", (Handler,), {"name": name})


@pytest.mark.parametrize("shards", [0, 65, -1])
def test_a_number_of_shards_out_of_bounds_is_refused(shards: int) -> None:
    with pytest.raises(HandlerError, match="from 1 to 64"):
        type("BadHandler", (Handler,), {"shards": shards})


def test_a_number_of_threads_that_cannot_be_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"threads is 0: from 1 to 65,536"):
        type("BadHandler", (Handler,), {"threads": 0})
    with pytest.raises(HandlerError, match=r"threads is 6, but the handler has 4 shards"):
        type("BadHandler", (Handler,), {"threads": 6, "shards": 4})


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "9"])
def test_a_capacity_that_is_no_number_of_requests_is_refused(capacity: object) -> None:
    """0 would else be taken for no bound at all."""
    with pytest.raises(
        HandlerError, match=r"capacity is .*: requests that a tube may hold, from 1, or None for no bound"
    ):
        type("BadHandler", (Handler,), {"capacity": capacity})


@pytest.mark.parametrize("seconds", [-1, 0.0001, float("nan"), float("inf")])
def test_an_ageing_out_of_bounds_is_refused(seconds: float) -> None:
    with pytest.raises(HandlerError, match=r"ageing_seconds is .*: a number from 0\.001"):
        type("BadHandler", (Handler,), {"ageing_seconds": seconds})


@pytest.mark.parametrize("seconds", [-1, 2_592_001, float("inf"), "60"])
def test_a_window_for_duplicates_out_of_bounds_is_refused(seconds: object) -> None:
    with pytest.raises(HandlerError, match=r"deduplicate_seconds is .*: a number from 0 \(off\) to 2592000"):
        type("BadHandler", (Handler,), {"deduplicate_seconds": seconds})


def test_requests_are_read_as_annotated_on_perform() -> None:
    class PerformHandler(Handler):
        async def perform(self, *requests: Job) -> None: ...

    assert request_type(PerformHandler) is Job


def test_requests_are_read_as_annotated_on_handle() -> None:
    class HandleHandler(Handler):
        async def handle(self, *requests: Job) -> None: ...

    assert request_type(HandleHandler) is Job


def test_an_annotation_as_text_is_resolved() -> None:
    class TextHandler(Handler):
        async def perform(self, *requests: "Job") -> None: ...

    assert request_type(TextHandler) is Job


def test_an_annotation_that_leads_nowhere_is_refused() -> None:
    class LostHandler(Handler):
        async def perform(self, *requests: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(HandlerError, match="Nowhere"):
        request_type(LostHandler)


def test_requests_are_read_as_the_handler_is_parametrised() -> None:
    class TypedHandler(Handler[Job]):
        async def perform(self, *requests):  # type: ignore[no-untyped-def]
            ...

    class NarrowerHandler(Handler[Job]):
        async def perform(self, *requests: Job | str) -> None: ...

    class LaterHandler(Handler["Job"]):
        async def perform(self, *requests: Any) -> None: ...

    class ListHandler(Handler[list["Job"]]):
        async def perform(self, *requests: list[Job]) -> None: ...

    assert [request_type(each) for each in (TypedHandler, NarrowerHandler, LaterHandler)] == [Job] * 3
    assert request_type(ListHandler) == list[Job]


def test_a_base_class_may_leave_the_type_of_its_requests_open() -> None:
    class OpenHandler(Handler[T]):
        async def perform(self, *requests: T) -> None: ...

    class OpenListHandler(Handler[list[T]], Generic[T]):
        async def perform(self, *requests: list[T]) -> None: ...

    class MiddleHandler(OpenHandler[T]): ...

    class JobHandler(MiddleHandler[Job]): ...

    class JobsHandler(OpenListHandler[Job]): ...

    class SubHandler(JobHandler): ...

    class PlainHandler(OpenHandler): ...  # type: ignore[type-arg]

    class RoutingHandler(Handler): ...

    class BothHandler(RoutingHandler, JobHandler): ...

    assert [request_type(each) for each in (OpenHandler, PlainHandler)] == [Any, Any]
    assert [request_type(each) for each in (JobHandler, SubHandler, BothHandler)] == [Job] * 3
    assert request_type(JobsHandler) == list[Job]


def test_a_type_of_requests_that_leads_nowhere_is_refused() -> None:
    class LostHandler(Handler["Nowhere"]):  # type: ignore[name-defined]
        async def perform(self, *requests: Any) -> None: ...

    with pytest.raises(HandlerError, match=r"its module does not know the request type .*Nowhere"):
        request_type(LostHandler)


class Wrong:
    """Methods that a worker or a queue could not call, one of each mistake."""

    async def no_self(*requests: Job) -> None: ...  # type: ignore[misc]

    async def one(self, request: Job) -> None: ...

    async def one_more_by_name(self, *requests: Job, strict: bool) -> None: ...

    async def nothing(self) -> None: ...

    def plain(self) -> None: ...

    async def one_by_one(self, *requests: Job) -> AsyncIterator[None]:
        yield

    def route_plain(self, *requests: Job) -> list[Route]:
        return []


def named_as(name: str, method: Any) -> Any:
    """*method* as if it had been defined under *name*."""
    function = getattr(method, "__func__", method)
    copy = FunctionType(function.__code__, function.__globals__, name)
    copy.__kwdefaults__ = function.__kwdefaults__
    return classmethod(copy) if isinstance(method, classmethod) else copy


@pytest.mark.parametrize(
    ("name", "method", "complaint"),
    [
        ("create", Wrong.nothing, r"create must be a classmethod, because it is called before there is an instance"),
        ("create", classmethod(Wrong.plain), r"create must be `async def`: @classmethod async def create\(cls\)"),
        ("create", classmethod(Wrong.one), r"create cannot be called with no arguments \(missing .* 'request'\)"),
        ("route", Wrong.one, r"route must be a classmethod"),
        ("route", classmethod(Wrong.route_plain), r"route must be `async def`"),
        ("route", classmethod(Wrong.one), r"route must take \*requests, because it gets a batch of them: @classmethod"),
        ("route", classmethod(Wrong.one_by_one), r"route has a `yield`, so calling it would run nothing"),
        ("identity", Wrong.one, r"identity must be a classmethod"),
        (
            "identity",
            classmethod(Wrong.one),
            r"identity must be a plain `def`: @classmethod def identity\(cls, request",
        ),
        ("identity", classmethod(Wrong.plain), r"identity cannot be called with request"),
        ("on_error", Wrong.one, r"on_error must be a classmethod"),
        ("on_error", classmethod(Wrong.one), r"on_error cannot be called with error, attempt"),
        ("on_error", classmethod(Wrong.nothing), r"on_error cannot be called with error, attempt"),
        ("start", Wrong.one, r"start cannot be called with no arguments"),
        ("start", Wrong.plain, r"start must be `async def`: async def start\(self\)"),
        ("stop", Wrong.one, r"stop cannot be called with no arguments"),
        ("stop", Wrong.plain, r"stop must be `async def`"),
        ("perform", Wrong.nothing, r"perform must take \*requests"),
        ("perform", Wrong.no_self, r"perform must take self first: async def perform\(self, \*requests\)"),
        ("perform", Wrong.one_more_by_name, r"perform cannot be called with \*requests \(missing .* 'strict'\)"),
        ("perform", Wrong.one_by_one, r"perform has a `yield`, so calling it would run nothing"),
        ("handle", Wrong.one, r"handle must take \*requests"),
        ("handle", Wrong.one_by_one, r"handle has a `yield`"),
    ],
)
def test_a_method_that_could_not_be_called_is_refused_where_it_is_defined(
    name: str, method: Any, complaint: str
) -> None:
    with pytest.raises(HandlerError, match=rf"BadHandler\.{complaint}"):
        type("BadHandler", (Handler,), {name: named_as(name, method)})


def test_methods_that_a_decorator_made_are_left_to_their_calls() -> None:
    """A decorator may turn a function into anything, and a mixin may be no handler."""

    def named(method: Callable[..., Awaitable[Any]]) -> Any:
        @functools.wraps(method)
        def inner(*arguments: Any) -> Any:
            return method(*arguments)

        return inner

    def unnamed(method: Callable[..., Awaitable[Any]]) -> Any:
        def inner(*arguments: Any) -> Any:
            return method(*arguments)

        return inner

    class Mixin:
        async def start(self, seconds: float = 1) -> None: ...

    class DecoratedHandler(Mixin, Handler[Job]):
        @classmethod
        @named
        async def route(cls, *requests: Job) -> list[Route]:
            return []

        @unnamed
        async def perform(self, *requests: Job) -> None: ...

        @unnamed
        async def stop(self) -> None: ...

        @staticmethod
        def identity(request: Job) -> str | None:
            return None

    assert request_type(DecoratedHandler) is Job


def test_a_handler_that_takes_no_batch_is_refused() -> None:
    """When it is defined, and not when its first batch has come."""
    with pytest.raises(HandlerError, match=r"SingleHandler\.perform must take \*requests"):

        class SingleHandler(Handler):
            async def perform(self, request: Job) -> None:  # type: ignore[override]
                ...

    with pytest.raises(HandlerError, match=r"ListHandler\.handle must take \*requests"):

        class ListHandler(Handler):
            async def handle(self, requests: list[Job]) -> None:  # type: ignore[override]
                ...


def test_a_handler_that_handles_nothing_is_refused() -> None:
    class NothingHandler(Handler): ...

    with pytest.raises(HandlerError, match="neither perform nor handle"):
        request_type(NothingHandler)


async def test_a_handler_that_does_not_route_uses_the_default_route() -> None:
    class DefaultHandler(Handler):
        async def perform(self, *requests: Job) -> None: ...

    settings.default_thread, settings.default_priority = "main", 7

    assert await DefaultHandler.route(Job(1), Job(2)) == [Route("main", 7)] * 2


def test_a_handler_is_retried_as_the_settings_say_unless_it_says_itself() -> None:
    class PlainHandler(Handler):
        async def perform(self, *requests: Job) -> None: ...

    class OwnHandler(PlainHandler):
        retry = Retry(limit=1, base_seconds=2, cap_seconds=3)

    settings.retry_limit, settings.retry_base, settings.retry_cap = 4, 5, 6

    assert PlainHandler.policy() == Retry(4, 5, 6)
    assert OwnHandler.policy() == Retry(1, 2, 3)


def test_a_first_wait_above_the_longest_one_of_the_settings_is_as_long_as_that() -> None:
    class PlainHandler(Handler):
        async def perform(self, *requests: Job) -> None: ...

    settings.retry_base, settings.retry_cap = 5, 2

    assert PlainHandler.policy() == Retry(settings.retry_limit, 2, 2)


def test_what_a_retry_leaves_out_is_that_of_the_settings() -> None:
    settings.retry_limit, settings.retry_base, settings.retry_cap = 4, 5, 60

    assert Retry() == Retry(4, 5, 60)
    assert Retry(limit=1) == Retry(1, 5, 60)
    assert Retry(base_seconds=100) == Retry(4, 100, 100)
    assert Retry(cap_seconds=2) == Retry(4, 2, 2)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"jitter": 2}, "jitter is 2: a number from 0 to 1"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"limit": 0}, "limit is 0: a number from 1 to 1,000,000"),
        ({"limit": 2.5}, r"limit is 2\.5: a whole number"),
        ({"limit": True}, "limit is True"),
        ({"base_seconds": -1}, "base_seconds is -1"),
        ({"cap_seconds": float("inf")}, "cap_seconds is inf: a number from 0 to 31,536,000"),
        ({"base_seconds": "1"}, "base_seconds is '1'"),
        ({"base_seconds": 10}, "cap_seconds is 5, less than base_seconds, 10"),
        ({"max_snoozes": 0}, "max_snoozes is 0: a number from 1 to 1,000,000"),
        ({"max_snoozes": 1.5}, r"max_snoozes is 1\.5: a whole number"),
        ({"give_up_on": "ValueError"}, "give_up_on has 'ValueError': types of errors, such as \\(ValueError,\\)"),
        ({"give_up_on": (ValueError, int)}, "give_up_on has <class 'int'>: types of errors"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused_where_it_is_made(
    changed: dict[str, object], complaint: str
) -> None:
    with pytest.raises(HandlerError, match=f"Retry: {complaint}"):
        Retry(**({"limit": 3, "base_seconds": 1, "cap_seconds": 5} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 31_536_001, "30", None, True])
def test_a_snooze_out_of_bounds_is_refused(seconds: Any) -> None:
    with pytest.raises(HandlerError, match=r"Snooze: seconds is .*: a number above 0 and up to 31,536,000 \(a year\)"):
        Snooze(seconds)


def test_a_policy_of_another_type_is_refused() -> None:
    with pytest.raises(HandlerError, match="retry is 3: a Retry, or None"):
        type("BadHandler", (Handler,), {"retry": 3})


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60", True])
def test_a_timeout_that_cannot_be_is_refused(seconds: object) -> None:
    async def perform(self: Handler, *requests: Job) -> None: ...

    with pytest.raises(HandlerError, match=r"timeout_seconds is .*: a number above 0"):
        type("BadHandler", (Handler,), {"timeout_seconds": seconds, "perform": perform})


def test_a_timeout_of_a_plain_function_is_refused() -> None:
    """It runs in an OS thread, which cannot be stopped."""

    def perform(self: Handler, *requests: Job) -> None: ...

    with pytest.raises(HandlerError, match=r"timeout_seconds needs an `async def perform`"):
        type("BadHandler", (Handler,), {"timeout_seconds": 1, "perform": perform})


@pytest.mark.parametrize(
    "attribute",
    [
        *("ageing_seconds", "timeout_seconds", "deduplicate_seconds", "shards"),
        *("batch_size", "turn_seconds", "linger_seconds"),
    ],
)
@pytest.mark.parametrize("value", ["soon", True, float("nan"), [1]])
def test_an_attribute_of_another_type_is_refused_with_its_name_and_value(attribute: str, value: object) -> None:
    with pytest.raises(HandlerError, match=rf"OddHandler\.{attribute} is {re.escape(repr(value))}: "):
        type("OddHandler", (Handler,), {attribute: value})


def test_no_ageing_is_zero_and_not_none() -> None:
    with pytest.raises(HandlerError, match=r"NoneHandler\.ageing_seconds is None: a number .* or 0 for no ageing"):
        type("NoneHandler", (Handler,), {"ageing_seconds": None})


@pytest.mark.parametrize(
    ("attribute", "value", "bounds"),
    [
        ("batch_size", 0, "a whole number from 1 to 10,000"),
        ("batch_size", 1.5, "a whole number from 1 to 10,000"),
        ("batch_size", 10_001, "a whole number from 1 to 10,000"),
        ("turn_seconds", 0, "a number above 0 and up to 86,400"),
        ("linger_seconds", -1, "a number from 0 to 86,400"),
    ],
)
def test_an_attribute_over_a_setting_has_its_bounds(attribute: str, value: object, bounds: str) -> None:
    with pytest.raises(HandlerError, match=rf"OwnHandler\.{attribute} is {value}: {bounds}, or None for that of the"):
        type("OwnHandler", (Handler,), {attribute: value})


def test_a_handler_without_settings_of_its_own_has_those_of_the_process() -> None:
    class OwnHandler(Handler):
        batch_size, turn_seconds, linger_seconds = 7, 0.5, 0

    class PlainHandler(Handler):
        pass

    settings.worker_batch_size, settings.worker_turn = 11, 9
    assert (batch_size_of(OwnHandler), turn_of(OwnHandler), linger_of(OwnHandler)) == (7, 0.5, 0)
    assert (batch_size_of(PlainHandler), turn_of(PlainHandler)) == (11, 9)
    assert linger_of(PlainHandler) == settings.linger_seconds
    OwnHandler.batch_size = "many"  # type: ignore[assignment]
    assert batch_size_of(OwnHandler) == 11


async def test_values_that_are_put_there_later_are_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class ChangedHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    ChangedHandler.ageing_seconds = None  # type: ignore[assignment]
    ChangedHandler.timeout_seconds = "5"  # type: ignore[assignment]
    ChangedHandler.retry = 3  # type: ignore[assignment]
    for _ in range(2):
        assert ageing_of(ChangedHandler) == 0
        assert ChangedHandler.policy().limit == settings.retry_limit
        await call(ChangedHandler(), [1])

    assert [record.getMessage().partition(", and")[0].partition("Changed")[2] for record in caplog.records] == [
        "Handler.ageing_seconds was set to None",
        "Handler.retry was set to 3",
        "Handler.timeout_seconds was set to '5'",
    ]


@pytest.mark.parametrize(
    ("attribute", "meant"),
    [
        ("timeout", "timeout_seconds"),
        ("timeout_second", "timeout_seconds"),
        ("timeoutseconds", "timeout_seconds"),
        ("time_limit", "timeout_seconds"),
        ("aging_seconds", "ageing_seconds"),
        ("dedupliate_seconds", "deduplicate_seconds"),
        ("thread", "threads"),
        ("capactiy", "capacity"),
        ("max_retries", r"retry = Retry\(limit=…\)"),
        ("retries", r"retry = Retry\(limit=…\)"),
        ("priority", "route, which gives each request its priority"),
    ],
)
def test_a_misspelt_attribute_is_logged_where_its_class_is_defined(
    caplog: pytest.LogCaptureFixture, attribute: str, meant: str
) -> None:
    base = type("Misspelt", (Handler,), {attribute: 5, "__module__": "shop"})
    derived = type("Derived", (base,), {})

    (said,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(rf"shop\.Misspelt\.{attribute} has no effect; did you mean {meant}\?", said)
    assert misspelt_in([derived]) == [said]


def test_attributes_of_the_users_own_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    class OwnHandler(Handler):
        retries: int = 3
        timeout: "Nowhere"  # type: ignore[name-defined]  # noqa: F821
        http_timeout_seconds = 5
        url = "https://example.org"
        names = ("a", "b")
        table, topic, batch, charge, region = "orders", "t", 10, 1.0, None
        max_size, window_seconds, delay_seconds = 5, 60, 5
        _timeout = 5

        async def perform(self, *requests: int) -> None: ...

        @property
        def priority(self) -> int:
            return 1

        @staticmethod
        def max_retries() -> int:
            return 1

    assert caplog.records == []
    assert misspelt_in([OwnHandler]) == []
