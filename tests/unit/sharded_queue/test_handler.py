"""How a handler is declared, and what a wrong declaration says."""

from typing import NamedTuple

import pytest

from sharded_queue import Handler, HandlerError, HandlerNotFound, Retry, Route, settings
from sharded_queue.handler import find, known, request_type


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
    with pytest.raises(HandlerError, match=r"ageing_seconds is .*: from 0\.001"):
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
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused_where_it_is_made(
    changed: dict[str, float], complaint: str
) -> None:
    with pytest.raises(HandlerError, match=f"Retry: {complaint}"):
        Retry(**({"limit": 3, "base_seconds": 1, "cap_seconds": 5} | changed))  # type: ignore[arg-type]


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
