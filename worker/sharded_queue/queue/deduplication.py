"""Which requests are the same: the window, the identity of each, and the receipt of a duplicate."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sharded_queue.errors import HandlerError
from sharded_queue.handler import WINDOW_BOUNDS, Handler, is_window
from sharded_queue.printable import counted
from sharded_queue.queue.receipts import Receipt
from sharded_queue.storage import First
from sharded_queue.tube import Shard, Tube


def window_of(handler: type[Handler], seconds: float | None) -> float:
    """
    The window in seconds: *seconds*, or what the handler says.

    Raises:
        ValueError: it is out of bounds.
    """
    window = handler.deduplicate_seconds if seconds is None else seconds
    if not is_window(window):
        raise ValueError(f"deduplicate_seconds is {window!r}: {WINDOW_BOUNDS}")
    return window


def identities_of(
    handler: type[Handler], requests: Sequence[Any], bodies: Sequence[bytes], named: Sequence[str] | None
) -> list[str]:
    """
    A digest for each request: of what *named* says, else of `Handler.identity`, else of its encoded body. 128 bits are
    enough that no two different requests ever share one by chance.
    """
    if named is not None and len(named) != len(requests):
        raise ValueError(f"{len(named)} identities for {counted(len(requests), 'request')}: give one per request")
    if named is not None:
        texts = [_as_text(name) for name in named]
    else:
        texts = [_identity(handler, request) or body for request, body in zip(requests, bodies, strict=True)]
    return [blake2b(text, digest_size=16).hexdigest() for text in texts]


def _identity(handler: type[Handler], request: Any) -> bytes | None:
    """
    What the handler says of a request.

    Raises:
        HandlerError: it is neither a str nor None.
    """
    name = handler.identity(request)
    if name is None:
        return None
    if not isinstance(name, str):
        raise HandlerError(f"{handler.name}.identity must return a str or None, not {name!r:.80} for {request!r:.80}")
    return _as_text(name)


def _as_text(name: str) -> bytes:
    return b"=" + name.encode(errors="surrogatepass")  # no JSON begins with it, so a name never equals a body


def duplicate_receipts(
    shard: Shard, tubes: Sequence[Tube], duplicates: Mapping[tuple[int, int], First]
) -> Iterator[tuple[tuple[Tube, int], Receipt]]:
    """The receipt of each duplicate, by tube and index among the requests for that tube."""
    for (tube, index), (thread, priority, sequence) in duplicates.items():
        yield (tubes[tube], index), Receipt(Tube(shard, thread, priority), sequence, is_duplicate=True)
