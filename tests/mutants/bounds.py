"""Costs, bounds and figures."""

from tests.mutants.mutant import BIND, COORDINATOR, OBSERVING, PEEK, PRELUDE, REDIS, SETTLE, SIZES, STORAGE, Mutant

DEADLINE, TIME_OUT = "backends/redis/deadline.py", "../unit/sharded_queue/test_deadline.py::test_"

MUTANTS = [
    # Cost and promptness.
    Mutant(
        "a bind looks through keys",
        BIND,
        "promote()\n",
        "redis.call('KEYS', base .. '*')\npromote()\n",
        (REDIS + "no_script_looks_through_keys",),
    ),
    Mutant(
        "no worker is woken",
        PRELUDE,
        "math.min(WAKE_LIMIT, woken) do redis.call('RPUSH', WAKE, '1') end",
        "math.min(WAKE_LIMIT, woken) do end",
        (COORDINATOR + "waiting_ends_when_a_request_arrives",),
    ),
    Mutant(
        "a time-out that is nearer waits for the timer of another",
        DEADLINE,
        "if self._timer is None or deadline.at < self._timer.when():",
        "if self._timer is None:",
        (TIME_OUT + "each_ends_at_its_own_time",),
    ),
    Mutant(
        "only the first time-out of a timer is kept",
        DEADLINE,
        "        if self._under_way:\n",
        "        if False:\n",
        (TIME_OUT + "one_that_began_under_the_timer_of_another_ends_too",),
    ),
    Mutant(
        "each time-out has a timer",
        DEADLINE,
        "        self._under_way.discard(deadline)\n\n",
        "        self._under_way.discard(deadline)\n        self._timer = None\n\n",
        (TIME_OUT + "many_in_a_row_share_a_timer",),
    ),
    Mutant(
        "a cancellation by another counts as a time-out",
        DEADLINE,
        "self._task.uncancel() <= self._cancellations and ",
        "self._task.uncancel() >= 0 and ",
        (TIME_OUT + "a_cancellation_by_another_is_no_time_out",),
    ),
    Mutant(
        "time-outs stay with an event loop that ended",
        "backends/redis/link.py",
        "if self._deadlines is None or self._deadlines.loop is not asyncio.get_running_loop():",
        "if self._deadlines is None:",
        (TIME_OUT + "a_link_that_moves_to_another_event_loop_has_time_outs_there",),
    ),
    Mutant(
        "a call that a worker has no room for is lost",
        "worker/wakeup.py",
        "                await self._coordinator.notify(called)\n",
        "                pass\n",
        (COORDINATOR + "who_waits_no_longer_passes_on_the_call_that_came_meanwhile",),
    ),
    Mutant(
        "a wait cannot be ended but by closing its connection",
        "backends/redis/coordinator.py",
        "        await asyncio.gather(*[self._call_off(shard, owner) for shard in ends], return_exceptions=True)\n",
        "",
        (COORDINATOR + "a_wait_is_ended_without_losing_a_call",),
    ),
    Mutant(
        "a worker whose wait is ended takes that for a wake-up",
        "backends/redis/coordinator.py",
        'if key.endswith(":wake"):',
        "if key:",
        (COORDINATOR + "a_wait_is_ended_without_losing_a_call",),
    ),
    Mutant(
        "a page goes on by its place, not by its number",
        PEEK,
        "first - tube.head, count",
        "first - tube.tail + 8, count",
        (STORAGE + "peek_reads_on_page_by_page_while_the_tube_moves",),
    ),
    Mutant(
        "in memory a page begins with the first request",
        "backends/memory/steps/peek.py",
        "max(buffer.head, after + 1)",
        "buffer.head",
        (STORAGE + "peek_behind_a_request_that_was_handled_begins_with_the_first",),
    ),
    Mutant(
        "a page has no bound in bytes",
        PRELUDE,
        "bytes = bytes + cut(read, room - bytes, #messages == 0)",
        "bytes = 0",
        (SIZES + "a_look_at_a_tube_is_bounded_in_bytes",),
    ),
    # Figures.
    Mutant(
        "the depth is not counted",
        PRELUDE,
        "try('HINCRBY', COUNTERS, 'depth', depth_change)",
        "0",
        (OBSERVING + "depth_counts_what_is_not_yet_settled",),
    ),
    Mutant(
        "the age of a tube stays that of its first request",
        PRELUDE,
        "redis.call('ZADD', OLDEST, stamp_of(try('LINDEX', list, rest)), member)",
        "",
        (OBSERVING + "a_tube_whose_head_was_settled_is_as_old_as_the_next_request",),
    ),
    Mutant(
        "the depth of threads is not ranked",
        PRELUDE,
        "redis.call('ZADD', DEEP, after, thread)",
        "",
        (OBSERVING + "the_deepest_threads_are_listed_deepest_first",),
    ),
    Mutant(
        "a look for threads is not remembered",
        BIND,
        "  redis.call('HSET', COUNTERS, 'polled', now_text)\n",
        "",
        (OBSERVING + "a_look_of_a_worker_is_remembered",),
    ),
    # What is handed out at once is bounded in bytes.
    Mutant(
        "a batch is not bounded in bytes",
        PRELUDE,
        "  if bytes <= room then return bytes end\n",
        "  if true then return bytes end\n",
        (SIZES + "a_batch_ends_where_its_bytes_are_used_up",),
    ),
    Mutant(
        "in memory a batch is not bounded in bytes",
        "backends/memory/shard.py",
        "        if taken and room < 0:\n",
        "        if False:\n",
        (SIZES + "a_batch_ends_where_its_bytes_are_used_up",),
    ),
    Mutant(
        "threads without room are forgotten",
        BIND,
        "in_chunks(taken, 'ZREM', READY)",
        "in_chunks(picked, 'ZREM', READY)",
        (SIZES + "threads_without_room_stay_where_they_were",),
    ),
    Mutant(
        "settled threads do not share the bytes",
        SETTLE,
        "room / (#threads - i + 1)",
        "room",
        (SIZES + "threads_settled_at_once_share_the_bytes",),
    ),
    Mutant(
        "binds have no hash tag",
        "tube.py",
        'return f"{self.binds}{{{shard.tag}}}"',
        'return f"{self.binds}{shard.tag}"',
        (REDIS + "all_keys_of_a_script_share_a_hash_tag",),
    ),
    # What Redis is and is not allowed to do.
    Mutant(
        "a full Redis does not drain",
        SETTLE,
        "#!lua flags=allow-oom\n",
        "#!lua\n",
        (REDIS + "a_redis_at_its_memory_limit_still_drains",),
    ),
    Mutant(
        "a Redis that evicts is used",
        "backends/redis/storage.py",
        'if policy not in (None, b"noeviction"):',
        "if False:",
        (REDIS + "a_redis_that_throws_requests_away_is_refused",),
    ),
    Mutant(
        "a setting out of its bounds is taken",
        "settings.py",
        "return convert(self._meant(value), self.annotation, strict=len(self.kinds) > 1)",
        "return self._meant(value)",
        ("../unit/sharded_queue/test_settings.py::test_a_wrong_assignment_names_setting_value_and_bound",),
    ),
]
