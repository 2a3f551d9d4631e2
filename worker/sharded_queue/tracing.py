"""
Spans for OpenTelemetry, by its semantic conventions for messaging; nothing where its API is not installed.

A registration makes a producer span, whose context travels in the headers of its requests. A call of a handler makes a
consumer span, a trace of its own that is linked to the contexts of its requests: a batch has many, so none is its
parent.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

try:
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
except ModuleNotFoundError:
    tracer = None
else:
    tracer = trace.get_tracer("sharded_queue")

SYSTEM = "sharded_queue"


def is_on() -> bool:
    """Whether spans go anywhere: the API is here, and the program has set a provider."""
    return tracer is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def registering(handler: str, count: int, headers: Mapping[str, str] | None) -> Iterator[Mapping[str, str] | None]:
    """Within the span of a registration; the headers to register with. Those of the user's own stay as they are."""
    assert tracer
    with tracer.start_as_current_span(
        f"register {handler}",
        kind=trace.SpanKind.PRODUCER,
        attributes=_attributes(handler, count, "register", "send"),
    ) as span:
        carried: dict[str, str] = {}
        propagate.inject(carried)
        with _telling(span):
            yield {**carried, **(headers or {})}


@contextmanager
def handling(handler: str, thread: str, owner: str, headers: Iterable[Mapping[str, str]], count: int) -> Iterator[None]:
    """Within the span of one call of a handler."""
    assert tracer
    attributes = _attributes(handler, count, "handle", "process")
    with tracer.start_as_current_span(
        f"handle {handler}",
        context=Context(),
        kind=trace.SpanKind.CONSUMER,
        attributes={**attributes, "messaging.destination.partition.id": thread, "messaging.client.id": owner},
    ) as span:
        if span.is_recording():
            for context in _contexts(headers):
                span.add_link(context)
        with _telling(span):
            yield


def _attributes(handler: str, count: int, name: str, kind: str) -> dict[str, str | int]:
    batch = {"messaging.batch.message_count": count} if count != 1 else {}
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": handler,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        **batch,
    }


def _contexts(headers: Iterable[Mapping[str, str]]) -> list["trace.SpanContext"]:
    """Those that requests came with, each once: requests of one registration share theirs."""
    found = (trace.get_current_span(propagate.extract(carried, Context())).get_span_context() for carried in headers)
    return list({(context.trace_id, context.span_id): context for context in found if context.is_valid}.values())


@contextmanager
def _telling(span: "trace.Span") -> Iterator[None]:
    """The span itself records what is raised; the conventions ask for its type besides."""
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__qualname__)
        raise
