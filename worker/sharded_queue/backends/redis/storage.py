"""Tubes in Redis: a list per tube, and the indices that `lua/_prelude.lua` names."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from math import inf
from typing import Any, cast

from sharded_queue import timing
from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.clock import Clock
from sharded_queue.backends.redis.joint import Joint
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.scripts import Caller, Scripts, batch_of, grouped, retry, text_of
from sharded_queue.errors import SettingsError, StorageUnavailable, UnreadableData
from sharded_queue.lease import Lease
from sharded_queue.letters import read
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.settings import settings
from sharded_queue.state import (
    Blocked,
    Dead,
    Delayed,
    Drop,
    Exhausted,
    Hold,
    PastFailure,
    PausedBy,
    Progress,
    ShardState,
    State,
    ThreadState,
    TubeLag,
    TubeState,
    Upcoming,
    WorkerState,
    busy_seconds,
)
from sharded_queue.storage import (
    LONGEST_DELAY_SECONDS,
    STEP_BYTES,
    STEP_NUMBERS,
    STEP_THREADS,
    TRACEBACK_KEPT,
    WHOLE,
    Cause,
    Dropped,
    Entry,
    Failure,
    First,
    LayoutChanged,
    LetterPage,
    LetterThread,
    Part,
    Registered,
    Registration,
    Resharded,
    Schedule,
    Settled,
    Settlement,
    Storage,
    Target,
    Waiting,
    check_due,
    check_numbers,
    check_pause,
    priorities_full,
    queue_full,
    uncertain_registration,
    unfinished,
)
from sharded_queue.timing import Timing
from sharded_queue.tube import SHARD_TAG, Keys, Layout, Shard, Tube, thread_and_priority

log = logging.getLogger("sharded_queue")

SLOWEST_BYTES_A_SECOND = 125_000
"""The slowest connection that a large registration is given time for: a megabit a second."""
BYTES_OF_ARGUMENT = 64
"""The overhead of a request beside its body, on the way and in the time that Redis takes for it."""
PACKED_MESSAGES, PACKED_BYTES = 32, 1000
"""
Fewer messages, or longer ones, are an argument each. Packing saves a producer 0.3 us for each message of 50 bytes, and
costs Redis 2 us for each tube.
"""
SCAN_COUNT = 1000
DROPPED_AT_ONCE = 1000
"""Requests of one step of `drop`: 40 ms of Redis."""
DROP_REACH = 100_000
"""Requests between those that are dropped and the ends of their tubes: 2 ms of Redis, and 10 ms for 1,000."""
PAGE = 100
"""Dead letters and schedules read in one step: each may be as large as a request."""
COUNTERS = ("depth", "registered", "settled", "dead", "busy_us", "born", "polled", "duplicates")
"""Those that `observe` reports, in its order."""
OBSERVED, OBSERVED_AT_REST = 24, 6
"""Parts of the answer of `observe`, and of that for a shard to which nothing waits. Others are not of our script."""
EXHAUSTED = re.compile(
    rb"(-?[0-9]{1,10}) ([0-9]{13}) (?:-?[0-9]{1,16} -?[0-9]{1,16} ([0-9]{1,9}) ([0-9]{1,9}) (.*))?", re.DOTALL
)
COUNTED = re.compile(rb"-?[0-9]{1,16}")
LETTER = re.compile(rb"([0-9]{1,9}) (-?[0-9]{1,10}) (-?[0-9]{1,16}) (-?[0-9]{1,16}) ([0-9]{1,9}) ")
PROGRESS = re.compile(rb"[0-9]+ -?[0-9]+ ([0-9]{1,15}) ([0-9]{1,16}) ([0-9]{1,16}|-) (.*)", re.DOTALL)
PAST_FAILURE = re.compile(rb"([0-9]{1,15}) (-?[0-9]{1,10}) (-?[0-9]{1,16}) (-?[0-9]{1,16}) ([0-9]{1,9}) ([0-9]{1,9}) ")
ABOUT = re.compile(r"(\S+) (\S+) ([0-9]{1,9}) ([0-9]{1,15})(?: ([0-9]{1,9}))?(?: .*)?", re.DOTALL)
PAUSED_BY = re.compile(rb"([0-9]{13}) ([0-9]{13}|-) ([0-9]{1,9}) ")
DROP = re.compile(rb"([0-9]{13}) ([0-9]{1,9}) ([0-9]{1,9}) ([0-9]{1,9}) ([0-9]{1,16}) ")
FIRST_MOMENT_MS, LAST_MOMENT_MS = 10**12, 10**13
"""The times that have thirteen digits, as a message begins with: from 2001 to 2286."""
LOST, KEPT, RELEASED, HANDED = range(4)
TO_THE_DEAD = "dead"
Attempt = Callable[[bool], Awaitable[Any]]
Limits = tuple[int, int, int, str]
"""Of a registration: capacity of a tube, delay and window in milliseconds, each 0 for none; layout, empty for none."""


class RedisStorage(Storage):
    """
    Keeps tubes in Redis lists.

    *redis* is the user's client, whose connections are borrowed and which the user closes. *keys* defaults to the
    prefixes of the settings; all processes that share queues must agree on them.
    """

    backend = "redis"

    def __init__(self, redis: Client, *, keys: Keys | None = None, clock: Clock | None = None) -> None:
        self.link = Link(redis)
        self.scripts = Scripts(self.link)
        self._keys = keys
        self._idle_producers: list[Caller] = []
        self._clock = clock or Clock()
        self._is_verified = False
        self._joint = Joint(self._register_now)

    @property
    def keys(self) -> Keys:
        return self._keys or Keys(settings.tube_prefix, settings.coordinator_prefix)

    async def register(self, shard: Shard, registration: Registration, *, seconds: float | None = None) -> Registered:
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        return await self._joint.register(shard, registration, until)

    async def _register_now(self, shard: Shard, registration: Registration, until: float | None) -> Registered:
        entries = registration.entries
        reply = await self._register(shard, entries, _limits(registration), until)
        firsts, duplicates = reply[: len(entries)], grouped(reply[len(entries) :], 3)
        return Registered(firsts, {(entry, place): first_of(text) for entry, place, text in duplicates})

    async def _register(self, shard: Shard, entries: Sequence[Entry], limits: Limits, until: float | None) -> list[Any]:
        await self._verify(settings.redis_retry, until)
        producer = self._idle_producers.pop() if self._idle_producers else Caller()
        producer.call += 1
        reply = await self._sent(shard, producer, entries, limits, until)
        if len(reply) > 1 and reply[1] == b"full":
            self._idle_producers.append(producer)
            depth, thread, priority = reply[2], reply[3].decode(), int(reply[4])
            tube = Tube(shard, thread, priority)
            raise queue_full(tube, depth, limits[0])
        if len(reply) > 1 and reply[1] == b"priorities":
            self._idle_producers.append(producer)
            raise priorities_full(shard, reply[3].decode(), reply[2])
        if len(reply) > 1 and reply[1] == b"layout":
            self._idle_producers.append(producer)
            raise LayoutChanged(Layout(*reply[2:]))
        if len(reply) < 1 + len(entries):
            raise StorageUnavailable(
                f"{shard.tag}: Redis answered a registration of {len(entries)} tubes with {reply!r:.200}"
            )
        self._idle_producers.append(producer)
        return reply[1:]

    async def _sent(
        self, shard: Shard, producer: Caller, entries: Sequence[Entry], limits: Limits, until: float | None
    ) -> list[Any]:
        """The answer to a registration. Each time it is sent, its requests get a new stamp."""
        keys = [*self.keys.of(shard), producer.key(self.keys.base(shard))]
        elapsed = asyncio.get_running_loop().time
        lengths = [list(map(len, entry.bodies)) for entry in entries]
        rest = (self.keys.awake, shard.tag, *limits, STAMP_DIGITS + max(chain.from_iterable(lengths), default=0))
        limit = settings.redis_retry if until is None else max(0.0, until - elapsed())
        way_seconds, give_up_at = _way_seconds(lengths), elapsed() + limit

        async def attempt(_: bool) -> list[Any]:
            if way_seconds > 1:  # a late NOSCRIPT would cost another way
                await self.scripts.make_sure_of("register", keys[0])
            stamp, sent_at = self._clock.stamp(), elapsed()
            head = [producer.call, stamp, self._clock.tolerance(way_seconds), *rest]
            arguments = [*head, *encode_entries(entries, lengths, b"%013d" % stamp)]
            seconds = max(settings.redis_timeout, min(settings.redis_timeout + way_seconds, give_up_at - sent_at))
            reply: list[Any] = await self.scripts.call("register", keys, arguments, seconds)
            self._clock.learn(stamp, elapsed() - sent_at, reply[0])
            if len(reply) == 1:
                raise self._clock.refused(stamp, elapsed() - sent_at, reply[0])
            return reply

        try:
            return cast("list[Any]", await self._retry_until(until)(_cut_off(attempt, until), limit, limit))
        except StorageUnavailable as error:
            if not error.is_uncertain:
                raise
            raise uncertain_registration(str(error)) from error.__cause__

    async def schedule(self, shard: Shard, schedule: Schedule, layout: Layout | None = None) -> int:
        following: int | str = ""
        while True:
            fields = [schedule.name, following, str(schedule.timing), *schedule[2:5]]
            arguments = [*fields, _encode_layout(layout), int(schedule.skip_if_waiting)]
            now, *known = await self._order("schedule", shard, arguments, settings.redis_retry)
            if known:
                return int(known[0])
            following = schedule.timing.after(now)

    async def unschedule(self, shard: Shard, name: str) -> bool:
        return bool(await self._order("unschedule", shard, [name], settings.redis_retry))

    async def has_schedule(self, shard: Shard, name: str) -> bool:
        occurrences = f"{self.keys.base(shard)}:occurrences"
        return (
            await self.scripts.ask(occurrences, "ZSCORE", occurrences, name, seconds=settings.redis_retry) is not None
        )

    async def schedules(self, shard: Shard) -> list[Upcoming]:
        found: dict[str, Upcoming] = {}  # one that occurs meanwhile moves to a later page: it may be read twice
        begin, names = 0, PAGE
        while names == PAGE:
            names, *page = await self._page_of_schedules(shard, begin)
            for name, next_ms, *fields in page:
                found[text_of(name)] = _upcoming(name, next_ms, *fields)
            begin += PAGE
        return sorted(found.values(), key=lambda schedule: (schedule.next_ms, schedule.name))

    async def _page_of_schedules(self, shard: Shard, begin: int) -> list[Any]:
        page: list[Any] = await self.scripts.run(
            "schedules", self.keys.of(shard), [begin, PAGE], seconds=settings.redis_timeout
        )
        return page

    async def delayed(self, shard: Shard, count: int = 100) -> list[Delayed]:
        found: dict[int, Delayed] = {}  # one that others were moved before may be read twice
        last: tuple[Any, Any] = "", ""
        while len(found) < count:
            *last, rows = await self._ask("delayed", shard, [min(count - len(found), STEP_NUMBERS), STEP_BYTES, *last])
            found |= {int(row[0]): _delayed(shard, *row) for row in rows}
            if not last[0]:
                break
        return list(found.values())

    async def delayed_numbers(self, shard: Shard) -> list[int]:
        return await self._numbers(shard, "due", by_score=True)

    async def cancel(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        check_numbers(numbers)
        return [int(number) for number in await self._ask("cancel", shard, list(numbers))]

    async def run_delayed(self, shard: Shard, numbers: Sequence[int]) -> list[int]:
        check_numbers(numbers)
        arguments = [*self._moment(), STEP_BYTES, *dict.fromkeys(numbers)]
        joined = await self._order("run_delayed", shard, arguments, settings.redis_timeout)
        return [int(number) for number in joined]

    async def move_delayed(self, shard: Shard, numbers: Sequence[int], due_ms: int) -> list[int]:
        check_numbers(numbers)
        arguments = [due_ms, LONGEST_DELAY_SECONDS * 1000, STEP_BYTES, *dict.fromkeys(numbers)]
        now, moved = await self._order("move_delayed", shard, arguments, settings.redis_timeout)
        check_due(due_ms, now)
        return [int(number) for number in moved]

    async def edit_schedule(self, shard: Shard, name: str, timing: Timing) -> int | None:
        following: int | str = ""
        while True:
            arguments = [name, following, str(timing)]
            answer = await self._order("edit_schedule", shard, arguments, settings.redis_timeout)
            if not answer:
                return None
            now, *known = answer
            if known:
                return int(known[0])
            following = timing.after(now)

    async def run_schedule(self, shard: Shard, name: str) -> First | None:
        where = await self._order("run_schedule", shard, [*self._moment(), name], settings.redis_timeout)
        return First(text_of(where[1]), int(where[2]), where[0]) if where else None

    def _moment(self) -> tuple[int, int]:
        """The present as a stamp, and by how much it may differ from the clock of Redis."""
        return self._clock.stamp(), self._clock.tolerance(0)

    async def register_due(self, shard: Shard) -> float | None:
        moves: list[Any] = []
        while True:
            now, coming_ms, *due = await self._write("register_due", shard, moves)
            moves = [part for occurrence in due for part in _moved_on(shard, occurrence, now)]
            if not moves:
                return coming_ms / 1000 if coming_ms >= 0 else None

    async def _ask(self, script: str, shard: Shard, arguments: Sequence[Any]) -> Any:
        """For an interactive user, who prefers an early error to a long wait."""
        return await self.scripts.run(script, self.keys.of(shard), arguments, seconds=settings.redis_timeout)

    async def _order(self, script: str, shard: Shard, arguments: Sequence[Any], seconds: float) -> Any:
        """Carried out once, however often or late it arrives."""
        return await self.scripts.run_once(script, self.keys.of(shard), arguments, seconds=seconds)

    async def _write(self, script: str, shard: Shard, arguments: Sequence[Any]) -> Any:
        return await self.scripts.run(script, self.keys.of(shard), arguments, seconds=settings.redis_retry)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        shard = settlements[0].lease.shard
        flat = [argument for settlement in settlements for argument in _settlement(settlement)]
        room = settings.worker_batch_bytes
        reply = await self.scripts.run(
            "settle",
            self.keys.of(shard),
            lambda again: [int(again), room, *flat],
            seconds=settings.coordinator_lease,
        )
        return [_settled(settlement.lease, answer) for settlement, answer in zip(settlements, reply, strict=True)]

    async def fail(self, failure: Failure) -> bool:
        lease, delay = failure.lease, failure.delay_seconds
        rest = [lease.thread, lease.fence, failure.priority, failure.sequence, failure.attempt]
        reason = f"{failure.error}\n{failure.traceback}" if failure.traceback and delay is None else failure.error
        rest += [TO_THE_DEAD if delay is None else int(delay * 1000), reason, _encode_call(failure.call)]
        rest += ["" if failure.cap_seconds is None else int(failure.cap_seconds * 1000)]
        rest += [failure.traceback[-TRACEBACK_KEPT:], "" if failure.last is None else failure.last]
        rest += [_encode_bound(failure.most_snoozes), int(failure.stops)]
        return bool(
            await self.scripts.run(
                "fail",
                self.keys.of(lease.shard),
                lambda again: [int(again), *rest],
                seconds=settings.coordinator_lease,
            )
        )

    async def observe(self, shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
        calls = [(self.keys.base(shard), self.keys.of(shard), [worst, holds]) for shard in shards]
        replies = await self.scripts.run_all("observe", calls, seconds=settings.redis_timeout)
        return [_readable_state(shard, reply) for shard, reply in zip(shards, replies, strict=True)]

    async def progress(self, shard: Shard, threads: Sequence[str]) -> dict[str, Progress]:
        if not threads:
            return {}
        now, reports = await self._ask("progress", shard, list(threads))
        found = zip(threads, reports, strict=True)
        return {thread: progress for thread, text in found if (progress := _progress(now, text))}

    async def workers(self, shard: Shard, count: int = 1000) -> list[WorkerState]:
        return _workers(*await self._ask("workers", shard, [count]))

    async def peek(self, tube: Tube, count: int = 10, after: int | None = None) -> list[tuple[int, bytes]]:
        arguments = [tube.thread, tube.priority, count, settings.worker_batch_bytes, "" if after is None else after]
        first, messages = await self.scripts.run(
            "peek", self.keys.of(tube.shard), arguments, seconds=settings.redis_timeout
        )
        return list(enumerate(messages, first))

    async def explain(self, shard: Shard, thread: str) -> ThreadState:
        reply = await self.scripts.run("explain", self.keys.of(shard), [thread], seconds=settings.redis_timeout)
        return _thread_state(thread, reply)

    async def letter_numbers(self, shard: Shard) -> list[int]:
        return await self._numbers(shard, "dead")

    async def _numbers(self, shard: Shard, index: str, *, by_score: bool = False) -> list[int]:
        """The numbers in a sorted set, ascending: all that are in it from beginning to end of the scan."""
        key, found, cursor = f"{self.keys.base(shard)}:{index}", dict[int, float](), b"0"
        while True:
            command = ("ZSCAN", key, cursor, "COUNT", SCAN_COUNT)
            cursor, flat = await self.scripts.ask(key, *command, seconds=settings.redis_timeout)
            found |= {int(number): float(score) for number, score in _pairs(flat) if COUNTED.fullmatch(number)}
            if cursor == b"0":
                return sorted(found, key=lambda number: (found[number] if by_score else 0, number))

    async def read_letters(self, shard: Shard, numbers: Sequence[int]) -> LetterPage:
        check_numbers(numbers)
        looked, *flat = await self._ask("read_letters", shard, [STEP_BYTES, *numbers])
        return LetterPage(int(looked), [_dead(*each) for each in grouped(flat, 3)])

    async def letter_threads(self, shard: Shard, numbers: Sequence[int]) -> list[LetterThread]:
        found, at = list[LetterThread](), 0
        while at < len(numbers):
            part = numbers[at : at + STEP_NUMBERS]
            looked, *flat = await self._ask("letter_threads", shard, [STEP_BYTES, *part])
            found += [LetterThread(int(number), text_of(thread), size) for number, thread, size in grouped(flat, 3)]
            at += looked
        return found

    async def settle_dead(
        self,
        shard: Shard,
        numbers: Sequence[int],
        target: Target,
        part: Part = WHOLE,
        cause: Cause | None = None,
    ) -> list[int]:
        check_numbers(numbers)
        if cause:
            cause.check()
        who = cause or ("", "")
        arguments = [target, int(part.is_first), int(part.is_last), STEP_BYTES, *who, *dict.fromkeys(numbers)]
        done = await self._order("settle_dead", shard, arguments, settings.redis_timeout)
        return [int(number) for number in done]

    async def drop(self, shard: Shard, thread: str, cause: Cause, requests: Sequence[Waiting] | None = None) -> Dropped:
        limits = [cause.sentence, DROPPED_AT_ONCE, settings.worker_batch_bytes, DROP_REACH]
        if requests is None:
            return await self._drop_all(shard, [thread, *cause, *limits])
        if len(requests) > DROPPED_AT_ONCE:
            raise ValueError(f"{len(requests)} requests are named: at most {DROPPED_AT_ONCE} at once")
        if not requests:
            return Dropped([])
        arguments = [thread, *cause, *limits, "", *chain.from_iterable(requests)]
        _, _, in_hand, letters, held, missing, deep = await self._order(
            "drop", shard, arguments, settings.redis_timeout
        )
        return Dropped(
            [int(number) for number in letters],
            in_hand,
            tuple(requests[place] for place in held),
            tuple(requests[place] for place in missing),
            tuple(requests[place] for place in deep),
        )

    async def _drop_all(self, shard: Shard, arguments: Sequence[Any]) -> Dropped:
        letters: list[int] = []
        latest, is_left = "", 1
        while is_left:
            latest, is_left, in_hand, dropped, *_ = await self._order(
                "drop", shard, [*arguments, latest], settings.redis_timeout
            )
            letters += [int(number) for number in dropped]
        return Dropped(letters, in_hand)

    async def has_identities(self, shard: Shard) -> bool:
        key = f"{self.keys.base(shard)}:identities"
        return bool(await self.scripts.ask(key, "ZCARD", key, seconds=settings.redis_timeout))

    async def drops(self, shard: Shard, count: int = 100) -> list[Drop]:
        base = self.keys.base(shard)
        records = await self.scripts.ask(base, "LRANGE", f"{base}:drops", 0, count - 1, seconds=settings.redis_timeout)
        return [drop for record in records if (drop := _drop(record))]

    async def pause(
        self, shard: Shard, thread: str | None, is_paused: bool, by: Cause | None = None, seconds: float | None = None
    ) -> bool:
        check_pause(by, seconds)
        lasts = "" if seconds is None else int(seconds * 1000)
        arguments = [thread or "", int(is_paused), *(by or ("", "")), lasts]
        return bool(await self._order("pause", shard, arguments, settings.redis_timeout))

    async def pauses(self, shard: Shard) -> dict[str, PausedBy]:
        found = {thread: _paused_by(record) for thread, record in (await self._hash(shard, "pauses")).items()}
        return {text_of(thread): by for thread, by in found.items() if by}

    async def paused(self, shard: Shard) -> list[str]:
        base = self.keys.base(shard)
        command = ("ZRANGEBYSCORE", f"{base}:blocked", "+inf", "+inf")
        threads = await self.scripts.ask(base, *command, seconds=settings.redis_timeout)
        return [thread.decode(errors="replace") for thread in threads]

    async def exhausted(self, shard: Shard, page: str = "") -> tuple[list[Exhausted], str]:
        following, flat = await self._ask("exhausted", shard, [page or "0", STEP_THREADS])
        found = [each for thread, stop, failure in grouped(flat, 3) if (each := _exhausted(thread, stop, failure))]
        return found, "" if following == b"0" else text_of(following)

    async def try_anew(self, shard: Shard, threads: Sequence[Exhausted]) -> list[str]:
        done = []
        for at in range(0, len(threads), STEP_THREADS):
            part = [[each.thread, f"{each.priority} {each.since_ms}"] for each in threads[at : at + STEP_THREADS]]
            done += await self._order("try_anew", shard, [*chain.from_iterable(part)], settings.redis_timeout)
        return [text_of(thread) for thread in done]

    async def acts(self, shard: Shard) -> dict[str, str]:
        return {text_of(thread): text_of(act) for thread, act in (await self._hash(shard, "acts")).items()}

    async def _hash(self, shard: Shard, name: str) -> dict[bytes, bytes]:
        base = self.keys.base(shard)
        found = await self.scripts.ask(base, "HGETALL", f"{base}:{name}", seconds=settings.redis_timeout)
        return found if isinstance(found, dict) else dict(_pairs(found))  # RESP3 answers with a map

    async def reshard(self, shard: Shard, threads: int) -> Resharded:
        is_changed, unlisted = False, 1
        while unlisted:  # a step each; workers go on with it as well
            changed, number, in_force, undrained, unlisted = await self._order(
                "reshard", shard, [threads], settings.redis_timeout
            )
            is_changed = is_changed or changed > 0
        if changed < 0:
            raise unfinished(shard, Layout(number, in_force), undrained, threads)
        return Resharded(Layout(number, in_force), undrained, is_changed)

    async def known_shards(self) -> list[Shard]:
        """
        All shards with data in Redis, found by a scan of its keys. A key whose tag cannot be that of a handler is not
        ours.

        Raises:
            SettingsError: it is a Cluster, whose keys are on many nodes.
        """
        if self.link.is_cluster:
            raise SettingsError("handlers of a Cluster cannot be found by a scan of its keys: name them")
        prefix, end = f"{self.keys.tubes}{{", "}:counters"
        names = sorted(await self.look_through(prefix, f"*{end}", "hash"))
        tags = [SHARD_TAG.match(name.removeprefix(prefix).removesuffix(end)) for name in names]
        return [Shard(tag[1], int(tag[2] or 0), 2 if tag[2] else 1) for tag in tags if tag]

    async def look_through(self, prefix: str, pattern: str, kind: str) -> set[str]:
        """The keys of a type that begin with *prefix* and go on like *pattern*, on the node of that hash tag."""
        wanted = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + pattern
        found: set[bytes] = set()
        cursor: bytes = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", wanted, "COUNT", SCAN_COUNT, "TYPE", kind)
            cursor, keys = await self.scripts.ask(prefix, *command, seconds=settings.redis_timeout)
            found.update(keys)
            if cursor == b"0":
                return {key.decode(errors="surrogateescape") for key in found}

    async def verify(self) -> None:
        await self._verify(settings.redis_timeout)

    async def _verify(self, seconds: float, until: float | None = None) -> None:
        if self._is_verified or settings.redis_eviction == "Accepted":
            return
        info = await self._memory_info(seconds if until is None else until - asyncio.get_running_loop().time(), until)
        policy = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line).get(b"maxmemory_policy")
        if policy not in (None, b"noeviction"):
            raise SettingsError(
                f"Redis has maxmemory-policy {policy.decode()}, which throws requests away when memory is short: "
                "set it to noeviction, or QUEUE_REDIS_EVICTION=Accepted if losing requests is acceptable"
            )
        self._is_verified = True

    def _retry_until(self, until: float | None) -> Callable[..., Awaitable[Any]]:
        """A caller whose time is over gets its error at once, without a look at what the other side speaks."""
        return self.scripts.retry if until is None else retry

    async def _memory_info(self, seconds: float, until: float | None) -> bytes:
        """What Redis reports of its memory; also reads its time, so that the first registration has the right stamp."""
        elapsed = asyncio.get_running_loop().time

        async def attempt(_: bool) -> bytes:
            stamp, sent_at = self._clock.stamp(), elapsed()
            (time_s, time_us), info = await self.scripts.ask_all(self.keys.awake, [("TIME",), ("INFO", "memory")])
            self._clock.learn(stamp, elapsed() - sent_at, int(time_s) * 1000 + int(time_us) // 1000)
            return cast("bytes", info)

        return cast("bytes", await self._retry_until(until)(_cut_off(attempt, until), seconds))

    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        base = self.keys.base(shard)
        newest = ("ZREVRANGE", f"{base}:dead", 0, count + DROPPED_AT_ONCE - 1)  # of one moment, in any order
        numbers = await self.scripts.ask(base, *newest, seconds=settings.redis_timeout)
        there = sorted((int(number) for number in numbers if COUNTED.fullmatch(number)), reverse=True)
        return [letter async for letters in read(self, shard, there[:count]) for letter in letters]


def _cut_off(attempt: Attempt, until: float | None) -> Attempt:
    """*attempt*, or one that ends at a moment of the event loop's clock, whatever it waits for."""
    if until is None:
        return attempt

    async def cut(is_resent: bool) -> Any:
        async with asyncio.timeout_at(until):
            return await attempt(is_resent)

    return cut


def _limits(registration: Registration) -> Limits:
    window_ms = max(1, int(registration.window_seconds * 1000)) if registration.window_seconds else 0
    delay_ms, layout = int(registration.delay_seconds * 1000), _encode_layout(registration.layout)
    return registration.capacity or 0, delay_ms, window_ms, layout


def _way_seconds(lengths: Sequence[Sequence[int]]) -> float:
    """The extra time for a registration to reach Redis and be carried out, by the lengths of its requests per tube."""
    return sum(sum(of_tube) + BYTES_OF_ARGUMENT * len(of_tube) for of_tube in lengths) / SLOWEST_BYTES_A_SECOND


def _encode_layout(layout: Layout | None) -> str:
    return f"{layout.number} {layout.threads}" if layout else ""


def encode_entries(entries: Sequence[Entry], lengths: Sequence[Sequence[int]], stamp: bytes) -> list[Any]:
    """
    The arguments of `register.lua` for all tubes; *stamp* goes before each message. *lengths*: those of the bodies of
    each entry.
    """
    arguments: list[Any] = []
    for (thread, priority, bodies, identities), of_tube in zip(entries, lengths, strict=True):
        if len(bodies) >= PACKED_MESSAGES and not identities and max(of_tube) <= PACKED_BYTES:
            arguments += (thread, priority, -len(bodies), _packed(bodies, of_tube, stamp))
        else:
            arguments += (thread, priority, len(bodies))
            arguments += [stamp + body for body in bodies]
            arguments += identities
    return arguments


def _packed(bodies: Sequence[bytes], lengths: Sequence[int], stamp: bytes) -> bytes:
    """
    MessagePack: an array of strings. One argument takes redis-py half of the time of an argument per message.

    By hand, as msgspec writes bytes as MessagePack's binary type, which Redis's reader does not know.
    """
    heads = {length: b"\xdb%b%b" % ((len(stamp) + length).to_bytes(4), stamp) for length in set(lengths)}
    parts = [b"\xdd" + len(bodies).to_bytes(4)] * (1 + 2 * len(bodies))
    parts[1::2], parts[2::2] = map(heads.__getitem__, lengths), bodies
    return b"".join(parts)


def first_of(text: bytes) -> First:
    """The first request of an identity, as Redis keeps it."""
    sequence, priority, thread = text.decode().split(" ", 2)
    return First(thread, int(priority), int(sequence))


def _delayed(shard: Shard, number: bytes, due: bytes, thread: bytes, priority: bytes, body: bytes) -> Delayed:
    return Delayed(Tube(shard, text_of(thread), int(priority)), int(number), int(float(due)), body)


def _moved_on(shard: Shard, occurrence: Sequence[Any], now: int) -> Sequence[Any]:
    """The arguments that move a schedule on from a due occurrence; none for a timing that this release cannot read."""
    name, moment, text = occurrence
    try:
        return name, moment, text, timing.read(text.decode()).after(now, moment)
    except (ValueError, OverflowError) as error:
        log.warning("schedule %s of %s cannot be followed here: %s", text_of(name), shard.tag, error)
        return ()


def _upcoming(
    name: bytes, next_ms: int, text: bytes, thread: bytes, priority: bytes, body: bytes, skips: int
) -> Upcoming:
    return Upcoming(text_of(name), text_of(text), text_of(thread), int(priority), body, next_ms, bool(skips))


def _settlement(settlement: Settlement) -> tuple[Any, ...]:
    lease, priority, through, busy_seconds, wanted, release, is_over, call, yields = settlement
    busy_us = int(busy_seconds * 1_000_000)
    return (
        lease.thread,
        lease.fence,
        priority,
        "" if through is None else through,
        busy_us,
        wanted,
        3 if yields else 2 if is_over else int(release),
        _encode_call(call),
    )


def _encode_call(call: int | None) -> int | str:
    return "" if call is None else call


def _encode_bound(most: float | None) -> int | str:
    if most is None:
        return ""
    return "unlimited" if most == inf else int(most)


def _settled(lease: Lease, answer: int | list[Any]) -> Settled:
    if isinstance(answer, list):
        return Settled(batch_of(lease, answer[1:]))
    return Settled(is_lost=answer == LOST, is_released=answer == RELEASED)


def _readable_state(shard: Shard, reply: list[Any]) -> ShardState:
    if not isinstance(reply, list) or len(reply) not in (OBSERVED, OBSERVED_AT_REST):
        raise StorageUnavailable(f"{shard.tag}: Redis answered what was asked of it with {reply!r:.200}")
    try:
        return _state(shard, reply) if len(reply) == OBSERVED else _state_at_rest(shard, reply)
    except (ValueError, TypeError, LookupError) as error:
        remedy = f"`sharded-queue check {shard.handler} --repair` puts it right"
        raise UnreadableData(f"the counters and indices of {shard.tag} cannot be read: {error}; {remedy}") from error


def _counted(name: str, value: bytes) -> int:
    if not COUNTED.fullmatch(value):
        raise ValueError(f"{name} is {value!r:.40}, no number of requests")
    return int(value)


def _state_at_rest(shard: Shard, reply: list[Any]) -> ShardState:
    now, counted, letters, layout, concurrencies, told_ms = reply
    counters = [None if value == b"-" else value for value in counted.split(b" ")]
    return ShardState(shard=shard, **_totals(now, counters, letters, layout, concurrencies.split(), told_ms))


def _state(shard: Shard, reply: list[Any]) -> ShardState:
    now, counters, threads, ready, bound, blocked, deepest, oldest, held, delayed, overdue, *later = reply
    schedules, layout, undrained, parked, parked_depth, letters, paused, quarantined, withheld, *later = later
    concurrencies, overdue_ms, told_ms, exhausted = later
    lags = [_tube_lag(now, *triple) for triple in grouped(oldest, 4)]
    return ShardState(
        shard=shard,
        threads=threads,
        ready=ready,
        bound=bound,
        blocked=blocked,
        lag_seconds=lags[0].lag_seconds if lags else 0.0,
        deepest=[(text_of(thread), _counted("the depth of a thread", depth)) for thread, depth in _pairs(deepest)],
        oldest=lags,
        held=[_hold(now, *fields) for fields in grouped(held, 6)],
        delayed=delayed,
        overdue=overdue,
        overdue_seconds=_age_seconds(now, overdue_ms) if overdue_ms else 0.0,
        schedules=schedules,
        undrained=undrained,
        parked=parked,
        parked_depth=parked_depth,
        quarantined=quarantined,
        paused=paused,
        exhausted=exhausted,
        blocked_threads=[_blocked(now, *triple) for triple in grouped(withheld, 3)],
        **_totals(now, counters, letters, layout, concurrencies, told_ms),
    )


def _totals(
    now: int,
    counted: Sequence[bytes | None],
    letters: int,
    layout: bytes,
    concurrencies: Sequence[bytes],
    told_ms: bytes,
) -> dict[str, Any]:
    """What a shard has whether anything waits in it or not."""
    *values, paused = counted
    found = zip(COUNTERS, values, strict=True)
    counters = {name: _counted(name, value) for name, value in found if value is not None}
    return {
        "depth": counters.get("depth", 0),
        "registered": counters.get("registered", 0),
        "settled": counters.get("settled", 0),
        "dead": counters.get("dead", 0),
        "busy_seconds": counters.get("busy_us", 0) / 1_000_000,
        "born": counters.get("born"),
        "is_paused": paused is not None,
        "told_seconds": _age_seconds(now, told_ms) if told_ms else None,
        "polled_seconds": max(0.0, (now - counters["polled"]) / 1000) if "polled" in counters else None,
        "duplicates": counters.get("duplicates", 0),
        "layout": Layout(*[_counted("the layout", part) for part in layout.split()[:2]]) if layout else None,
        "letters": letters,
        "concurrencies": sorted(map(int, concurrencies)),
    }


def _blocked(now: int, thread: bytes, until: bytes, depth: bytes) -> Blocked:
    counted = _counted("the depth of a thread", depth)
    seconds = inf if float(until) >= LAST_MOMENT_MS else max(0.0, (float(until) - now) / 1000)
    return Blocked(text_of(thread), counted, seconds)


def _thread_state(thread: str, reply: list[Any]) -> ThreadState:
    now, is_paused, held, lease_ends, blocked_until, ahead, tubes, is_parked, waits_for, bound, polled, flaw = reply[
        :12
    ]
    hold = held.split(b" ")
    return ThreadState(
        thread=thread,
        tubes=[_tube_state(now, *tube) for tube in tubes],
        is_handler_paused=bool(is_paused),
        owner=text_of(hold[1]) if held else None,
        lease_seconds=(float(lease_ends) - now) / 1000 if lease_ends else None,
        blocked_seconds=(float(blocked_until) - now) / 1000 if blocked_until else None,
        ahead=None if ahead < 0 else ahead,
        waits_for=[text_of(old) for old in waits_for] if is_parked else None,
        in_hand=max(0, int(hold[6]) - int(hold[5]) + 1) if held else 0,
        busy_seconds=busy_seconds(int(hold[2]), now) if held else None,
        bound=bound,
        polled_seconds=_age_seconds(now, polled) if polled else None,
        flaw=text_of(flaw) or None,
        failures=list(_past_failures(reply[12])),
        progress=_progress(now, reply[13]),
        act=text_of(reply[14]) or None,
        workers=_workers(now, reply[15]),
        paused_by=_paused_by(reply[16]),
        exhausted=_exhausted(*reply[17]) if reply[17] else None,
    )


def _exhausted(thread: bytes, stop: bytes, failure: bytes) -> Exhausted | None:
    """None for what is no record of ours."""
    found = EXHAUSTED.fullmatch(stop + b" " + failure)
    if not found:
        return None
    priority, since_ms, attempts, crashes, error = found.groups(b"")
    counts = int(attempts or 0), int(crashes or 0)  # without a noted failure, none is known
    return Exhausted(text_of(thread), int(priority), int(since_ms), *counts, text_of(error))


def _paused_by(record: bytes) -> PausedBy | None:
    """None for what is no record of ours."""
    if not (found := PAUSED_BY.match(record)):
        return None
    paused_ms, until_ms, actor_bytes = found.groups()
    rest = record[found.end() :]
    actor, reason = rest[: int(actor_bytes)], rest[int(actor_bytes) :]
    texts = actor.decode("utf-8", "replace"), reason.decode("utf-8", "replace")
    return PausedBy(int(paused_ms), *texts, None if until_ms == b"-" else int(until_ms))


def _progress(now: int, text: bytes) -> Progress | None:
    """None for what is no report of ours."""
    if not (found := PROGRESS.fullmatch(text)):
        return None
    at_ms, done, of, note = found.groups()
    known = None if of == b"-" else int(of)
    return Progress(int(done), known, note.decode("utf-8", "replace"), _age_seconds(now, at_ms))


def _past_failures(history: bytes) -> Iterator[PastFailure]:
    """As far as the history can be read."""
    while found := PAST_FAILURE.match(history):
        failed_ms, priority, sequence, attempt, error_bytes, traceback_bytes = map(int, found.groups())
        history = history[found.end() :]
        error, traceback = history[:error_bytes], history[error_bytes : error_bytes + traceback_bytes]
        history = history[error_bytes + traceback_bytes :]
        texts = error.decode("utf-8", "replace"), traceback.decode("utf-8", "replace")
        yield PastFailure(failed_ms, priority, sequence, attempt, *texts)


def _tube_state(now: int, priority: bytes, head: int, depth: int, stamp: bytes, failure: bytes) -> TubeState:
    lag_seconds = _age_seconds(now, stamp)
    sequence, _, attempts, crashes, error = failure.split(b" ", 4) if failure else (b"-1", b"", b"0", b"0", b"")
    if int(sequence) != head:
        return TubeState(int(priority), depth, lag_seconds)
    return TubeState(int(priority), depth, lag_seconds, int(attempts), int(crashes), error.decode("utf-8", "replace"))


def _tube_lag(now: int, name: bytes, stamp: bytes, depth: int, state: bytes) -> TubeLag:
    thread, priority = thread_and_priority(text_of(name))
    return TubeLag(thread, priority, depth, _age_seconds(now, stamp), cast("State", state.decode()))


def _age_seconds(now: int, stamp: bytes) -> float:
    """The seconds since a moment; what is not a moment counts as now, as in messages without a time."""
    moment = float(stamp)
    return max(0.0, (now - moment) / 1000) if moment >= FIRST_MOMENT_MS else 0.0


def _hold(now: int, thread: bytes, owner: bytes, fence: bytes, since: bytes, lease_ends: bytes, in_hand: int) -> Hold:
    lease_seconds = (float(lease_ends) - now) / 1000
    return Hold(text_of(thread), text_of(owner), int(fence), busy_seconds(int(since), now), lease_seconds, in_hand)


def _dead(number: bytes, died_ms: bytes | float, letter: bytes) -> Dead:
    found = LETTER.match(letter)
    if not found:
        return Dead(
            int(number), "", 0, 0, _died_ms(died_ms), 0, "its record cannot be read; it can only be dropped", letter
        )
    thread_bytes, priority, sequence, attempts, error_bytes = map(int, found.groups())
    rest = letter[found.end() :]
    error, _, traceback = rest[thread_bytes : thread_bytes + error_bytes].decode("utf-8", "replace").partition("\n")
    return Dead(
        number=int(number),
        thread=text_of(rest[:thread_bytes]),
        priority=priority,
        sequence=sequence,
        died_ms=_died_ms(died_ms),
        attempts=attempts,
        error=error,
        message=rest[thread_bytes + error_bytes :],
        traceback=traceback,
    )


def _workers(now: int, told: list[bytes]) -> list[WorkerState]:
    """One for each worker: what it told last."""
    states: dict[str, WorkerState] = {}
    for record, told_ms in _pairs(told):
        if state := _worker_state(now, record, told_ms):
            states.setdefault(state.owner, state)
    return list(states.values())


def _worker_state(now: int, record: bytes, told_ms: bytes) -> WorkerState | None:
    """None for what is no record of ours."""
    if not (found := ABOUT.fullmatch(text_of(record))):
        return None
    owner, version, concurrency, started_ms, tries = found.groups()
    told_seconds, limit = _age_seconds(now, told_ms), int(tries) if tries else None
    return WorkerState(owner, version, int(concurrency), int(started_ms), told_seconds, limit)


def _drop(record: bytes) -> Drop | None:
    """None for what is no record of ours."""
    if not (found := DROP.match(record)):
        return None
    at_ms, actor_bytes, thread_bytes, count, letter = map(int, found.groups())
    thread = found.end() + actor_bytes
    reason = thread + thread_bytes
    actor = text_of(record[found.end() : thread])
    return Drop(at_ms, actor, text_of(record[reason:]), text_of(record[thread:reason]), count, letter)


def _died_ms(score: bytes | float) -> int:
    """The time of a death; 0, long ago, where the score is not a time."""
    moment = float(score)
    return int(moment) if FIRST_MOMENT_MS <= moment < LAST_MOMENT_MS else 0


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
