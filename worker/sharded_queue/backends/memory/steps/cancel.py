"""Cancel delayed requests, and free their identities."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard

REMEMBERED_MS = 600_000
"""How long a cancelled delayed request is remembered, so that a call that is sent again gets the same answer."""


def cancel(shard: MemoryShard, numbers: Sequence[int], now: int) -> list[int]:
    waiting = {number: (due, number, entry) for due, number, entry in shard.due}
    for number in waiting.keys() & set(numbers):
        shard.due.discard(waiting[number])
        shard.cancelled[number] = now
        _free_identity(shard, number)
    shard.cancelled = {number: at for number, at in shard.cancelled.items() if at > now - REMEMBERED_MS}
    return [number for number in numbers if number in shard.cancelled]


def _free_identity(shard: MemoryShard, number: int) -> None:
    """By now, another request may have the identity."""
    identity = shard.named.pop(number, "")
    if identity in shard.firsts and shard.firsts[identity].sequence == number:
        shard.identities.discard(identity)
        del shard.firsts[identity]
