"""
OpenTelemetry spans, by its semantic conventions for messaging. Nothing happens unless its API is installed.

A registration makes a producer span, whose context travels in the headers of its requests. A call of a handler makes a
consumer span: a trace of its own, linked to the contexts of its requests. None of them is its parent, since a batch has
many.
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
    """Whether spans go anywhere: the API is installed, and the program has set a provider."""
    return tracer is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def registering(handler: str, count: int, headers: Mapping[str, str] | None) -> Iterator[Mapping[str, str] | None]:
    """Inside the span of a registration; yields the headers to register with. The user's own headers win."""
    assert tracer
    with tracer.start_as_current_span(
        f"register {handler}",
        kind=trace.SpanKind.PRODUCER,
        attributes=_attributes(handler, count, "register", "send"),
    ) as span:
        carried: dict[str, str] = {}
        propagate.inject(carried)
        with _with_error_type(span):
            yield {**carried, **(headers or {})}


@contextmanager
def handling(handler: str, thread: str, owner: str, headers: Iterable[Mapping[str, str]], count: int) -> Iterator[None]:
    """Inside the span of one call of a handler."""
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
        with _with_error_type(span):
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
    """The contexts that the requests carry, each once: requests of one registration share theirs."""
    found = (trace.get_current_span(propagate.extract(carried, Context())).get_span_context() for carried in headers)
    return list({(context.trace_id, context.span_id): context for context in found if context.is_valid}.values())


@contextmanager
def _with_error_type(span: "trace.Span") -> Iterator[None]:
    """The span records what is raised by itself; the conventions also want the type of the error."""
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__qualname__)
        raise
