"""Spans of OpenTelemetry: who makes them, how they are linked, and what they are called."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sharded_queue import Handler, Retry, Route, current, tracing
from sharded_queue.testing import Sandbox

Spans = InMemorySpanExporter


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """What a program that set a provider up would export."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("sharded_queue"))
    yield exporter
    provider.shutdown()


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def echo() -> type[Handler]:
    class Echo(Handler):
        name = "tests.Echo"
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        @classmethod
        async def route(cls, *requests: str) -> list[Route]:
            return [Route("a")] * len(requests)

        async def perform(self, *requests: str) -> None:
            with trace.get_tracer_provider().get_tracer("user").start_as_current_span("inside"):
                if "bad" in requests:
                    raise ValueError("bad")

    return Echo


def named(spans: Spans, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def ids(spans: list[ReadableSpan]) -> list[int]:
    return [span.context.span_id for span in spans if span.context]


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


async def test_a_registration_is_a_producer_span(spans: Spans, sandbox: Sandbox, echo: type[Handler]) -> None:
    await sandbox.queue.register(echo, "x", "y")
    (span,) = spans.get_finished_spans()

    assert (span.name, span.kind) == ("register tests.Echo", SpanKind.PRODUCER)
    assert attributes(span) == {
        "messaging.system": "sharded_queue",
        "messaging.destination.name": "tests.Echo",
        "messaging.operation.name": "register",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 2,
    }


async def test_the_context_travels_in_the_headers(spans: Spans, sandbox: Sandbox, echo: type[Handler]) -> None:
    await sandbox.queue.register(echo, "x", headers={"by": "me"})
    (span,), (recorded,) = spans.get_finished_spans(), sandbox.registered(echo)

    assert span.context
    assert recorded.headers == {
        "by": "me",
        "traceparent": f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}",
    }


async def test_a_call_of_a_handler_is_a_consumer_span_linked_to_its_requests(
    spans: Spans, sandbox: Sandbox, echo: type[Handler]
) -> None:
    """One a batch; requests of one registration share its context, and so a link."""
    await sandbox.queue.register(echo, "1", "2")
    await sandbox.queue.register(echo, "3")
    await sandbox.run()
    (span,) = named(spans, "handle tests.Echo")

    assert (span.kind, span.parent) == (SpanKind.CONSUMER, None)
    assert [link.context.span_id for link in span.links] == ids(named(spans, "register tests.Echo"))
    assert attributes(span) == {
        "messaging.system": "sharded_queue",
        "messaging.destination.name": "tests.Echo",
        "messaging.destination.partition.id": "a",
        "messaging.operation.name": "handle",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 3,
        "messaging.client.id": "sandbox/1",
    }


async def test_what_a_handler_does_is_inside_its_span(spans: Spans, sandbox: Sandbox, echo: type[Handler]) -> None:
    await sandbox.queue.register(echo, "1")
    await sandbox.run()
    (inside,), (span,) = named(spans, "inside"), named(spans, "handle tests.Echo")

    assert inside.parent == span.context
    assert "messaging.batch.message_count" not in attributes(span), "of one request, none is told"


async def test_a_plain_handler_is_inside_its_span_too(spans: Spans, sandbox: Sandbox) -> None:
    seen = []

    class Plain(Handler):
        def perform(self, *requests: str) -> None:  # type: ignore[override]
            seen.append((trace.get_current_span().get_span_context(), current().headers))

    await sandbox.queue.register(Plain, "1")
    await sandbox.run()
    ((context, headers),) = seen

    assert context == named(spans, f"handle {Plain.name}")[0].context
    assert "traceparent" in headers[0]


async def test_errors_are_recorded(spans: Spans, sandbox: Sandbox, echo: type[Handler]) -> None:
    await sandbox.queue.register(echo, "bad")
    await sandbox.run(raises=False)
    (span,) = named(spans, "handle tests.Echo")

    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert [event.name for event in span.events] == ["exception"]


async def test_a_registration_that_fails_is_recorded(spans: Spans, sandbox: Sandbox, echo: type[Handler]) -> None:
    echo.capacity = 1
    with pytest.raises(Exception, match="holds 0 of 1"):
        await sandbox.queue.register(echo, "1", "2")
    (span,) = spans.get_finished_spans()

    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "QueueFull")


async def test_without_a_provider_nothing_is_made_and_no_header_added(sandbox: Sandbox, echo: type[Handler]) -> None:
    await sandbox.queue.register(echo, "1")

    assert not tracing.is_on()
    assert sandbox.registered(echo)[0].headers == {}


@pytest.mark.slow
def test_without_the_package_all_goes_on() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
import asyncio
from sharded_queue import Handler, tracing
from sharded_queue.testing import Sandbox

class Echo(Handler):
    async def perform(self, *requests: str) -> None:
        print(*requests)

async def main():
    sandbox = Sandbox()
    await sandbox.queue.register(Echo, "1")
    await sandbox.run()

asyncio.run(main())
print(tracing.tracer)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert ran.stdout == "1\nNone\n"
