"""Take waiting requests out of their tubes. They become dead letters; all others keep their order."""

from collections.abc import Sequence
from math import inf

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.state import Drop
from sharded_queue.storage import Cause, Dropped, Waiting, digest_of


def drop(shard: MemoryShard, thread: str, cause: Cause, requests: Sequence[Waiting] | None, now: int) -> Dropped:
    """Without *requests*, all of the thread are meant."""
    if thread in shard.held and shard.leases[thread] <= now:  # as the next bind would
        shard.expire(thread, inf, now)  # what becomes of a request that keeps killing workers is for that bind to say
    in_hand, missing = list[Waiting](), list[Waiting]()
    places = _all(shard, thread, now) if requests is None else _named(shard, thread, requests, in_hand, missing)
    letters = [
        number
        for priority in sorted(places)
        for number in _take_out(shard, thread, priority, sorted(places[priority]), cause.sentence, now)
    ]
    if letters:
        if _is_stop_over(shard, thread) and shard.end_stop(thread):
            shard.make_ready(thread)
        _let_end(shard, thread)
        shard.drops.appendleft(Drop(now, cause.actor, cause.reason, thread, len(letters), letters[0]))
    hands = sum(_hand(shard, thread, priority) for priority in shard.threads.get(thread, ()))
    return Dropped(letters, hands, tuple(in_hand), tuple(missing))


def _hand(shard: MemoryShard, thread: str, priority: int) -> int:
    """How many requests at the head of a tube its holder has in hand."""
    held = shard.held.get(thread)
    is_in_hand = held is not None and held.priority == priority and held.first <= held.last
    return held.last - shard.threads[thread][priority].head + 1 if held and is_in_hand else 0


def _all(shard: MemoryShard, thread: str, now: int) -> dict[int, set[int]]:
    """The places of requests that were registered by now, by priority."""
    places: dict[int, set[int]] = {}
    for priority, tube in shard.threads.get(thread, {}).items():
        for place in range(_hand(shard, thread, priority), len(tube.messages)):
            if int(tube.messages[place][:13]) > now:
                break
            places.setdefault(priority, set()).add(place)
    return places


def _named(
    shard: MemoryShard, thread: str, requests: Sequence[Waiting], in_hand: list[Waiting], missing: list[Waiting]
) -> dict[int, set[int]]:
    """The places of these requests, by priority."""
    places: dict[int, set[int]] = {}
    for request in requests:
        tube = shard.tube(thread, request.priority)
        place = request.sequence - tube.head if tube else -1
        if tube is None or not 0 <= place < len(tube.messages) or digest_of(tube.messages[place]) != request.digest:
            missing.append(request)
        elif place < _hand(shard, thread, request.priority):
            in_hand.append(request)
        else:
            places.setdefault(request.priority, set()).add(place)
    return places


def _take_out(
    shard: MemoryShard, thread: str, priority: int, places: Sequence[int], reason: str, now: int
) -> list[int]:
    """Requests of a tube become dead letters; returns the numbers of these."""
    tube, failure = shard.threads[thread][priority], shard.failures.get((thread, priority))
    letters = []
    for place in places:
        is_tried = failure is not None and failure.sequence == tube.head + place
        attempts = failure.attempts + failure.crashes if failure and is_tried else 0
        letters.append(shard.bury(thread, priority, place, attempts, reason, now))
    first = sum(place == index for index, place in enumerate(places))
    if places[first:]:
        _renumber_occurrences(shard, thread, priority, [tube.head + place for place in places[first:]])
        shard.remove_behind(thread, priority, places[first:])
    if first:
        shard.pop_requests(thread, priority, first)
    return letters


def _renumber_occurrences(shard: MemoryShard, thread: str, priority: int, dropped: Sequence[int]) -> None:
    """Occurrences of schedules move up with the others; those that are dropped wait no more."""
    for name, last in list(shard.last_occurrences.items()):
        if last.sequence in dropped and last[:2] == (thread, priority):
            del shard.last_occurrences[name]
        elif last[:2] == (thread, priority):
            fallen = sum(number < last.sequence for number in dropped)
            shard.last_occurrences[name] = last._replace(sequence=last.sequence - fallen)


def _is_stop_over(shard: MemoryShard, thread: str) -> bool:
    """Whether the request for which the thread stands still is gone: what is noted of a request goes with it."""
    if thread not in shard.exhausted:
        return False
    failure = shard.failures.get((thread, shard.exhausted[thread][0]))
    return failure is None or not failure.error


def _let_end(shard: MemoryShard, thread: str) -> None:
    """A thread without requests waits for no worker, and its holder has nothing to do."""
    if thread in shard.threads:
        return
    shard.ready.discard(thread)
    shard.parked.discard(thread)
    if held := shard.held.get(thread):
        held.since_ms = 0
