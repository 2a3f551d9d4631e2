"""The broken engines: each takes one guarantee away by a small replacement, and names tests that notice."""

from typing import NamedTuple


class Variant(NamedTuple):
    """In *file* of the package, *old* becomes *new*; at least one of *tests* (in tests/contract) has to fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PRELUDE, BIND, SETTLE, FAIL, REGISTER, OCCUR, RESHARD = (
    f"lua/{name}.lua" for name in ("_prelude", "bind", "settle", "fail", "register", "occur", "reshard")
)
STORAGE, COORDINATOR, REDIS, WORKER, CONTROL, DUPLICATES, SCHEDULES, RESHARDING = (
    f"test_{name}.py::test_"
    for name in (
        "storage",
        "coordinator",
        "redis",
        "worker",
        "control",
        "deduplication",
        "schedules",
        "resharding",
    )
)

VARIANTS = [
    # One thread, one worker; order inside it.
    Variant(
        "a held thread becomes ready on register",
        PRELUDE,
        "  if not held then\n    make_ready(thread, tubes)\n    return\n  end\n  held.since = now\n",
        "  make_ready(thread, tubes)\n  if not held then return end\n  held.since = now\n",
        (COORDINATOR + "others_are_not_called_for_a_held_thread",),
    ),
    Variant(
        "the newest thread is bound first",
        BIND,
        "redis.call('ZPOPMIN', READY, threads)",
        "redis.call('ZPOPMAX', READY, threads)",
        (COORDINATOR + "the_thread_with_the_oldest_request_is_bound_first",),
    ),
    Variant(
        "priorities are compared as text",
        PRELUDE,
        "if tonumber(tube.priority) < tonumber(priority) then",
        "if tube.priority < priority then",
        (STORAGE + "priorities_are_compared_as_numbers",),
    ),
    Variant(
        "priorities do not age",
        PRELUDE,
        "tonumber(tube.priority) - math.floor(waited / ageing)",
        "tonumber(tube.priority)",
        (STORAGE + "a_priority_counts_one_step_less_for_each_time_of_ageing",),
    ),
    Variant(
        "in memory priorities do not age",
        "book.py",
        " // ageing_ms",
        " // 10**12",
        (STORAGE + "priorities_age_while_their_thread_is_held",),
    ),
    Variant(
        "a worker does not say how priorities age",
        "worker.py",
        "return handler.ageing_seconds if handler else 0.0",
        "return 0.0",
        (WORKER + "a_worker_lets_priorities_age_as_the_handler_says",),
    ),
    Variant(
        "a failure does not block its thread",
        FAIL,
        "redis.call('ZADD', BLOCKED, 'GT', now + delay, thread)",
        "make_ready(thread, tubes)",
        (STORAGE + "a_request_put_off_blocks_its_whole_thread",),
    ),
    Variant(
        "a back-off ends a pause",
        FAIL,
        "redis.call('ZADD', BLOCKED, 'GT', now + delay, thread)",
        "redis.call('ZADD', BLOCKED, now + delay, thread)",
        (CONTROL + "a_failure_does_not_end_a_pause",),
    ),
    # Nothing is lost, nothing is settled that was not handled.
    Variant(
        "a settlement drops one request too many",
        SETTLE,
        "drop(thread, tubes, i, through + 1 - tube.head)",
        "drop(thread, tubes, i, math.min(through + 2, tube.tail) - tube.head)",
        (STORAGE + "settling_a_part_leaves_the_rest_at_the_head",),
    ),
    Variant(
        "a settlement removes by count",
        SETTLE,
        "      if tube.priority == priority and through >= tube.head then\n"
        "        if held.priority ~= priority or through > held.last then return { 0 } end -- was never handed out\n",
        "      if tube.priority == priority then\n        through = held.last\n",
        (STORAGE + "settling_twice_removes_once_and_answers_the_same",),
    ),
    Variant(
        "what was never handed out can be settled",
        SETTLE,
        "if held.priority ~= priority or through > held.last then return { 0 } end",
        "",
        (STORAGE + "what_was_never_handed_out_cannot_be_settled",),
    ),
    Variant(
        "a drained tube gives its numbers again",
        REGISTER,
        "local start = sequence + total\n",
        "local start = 0\n",
        (STORAGE + "a_tube_that_was_drained_never_gives_a_number_again",),
    ),
    Variant(
        "a delayed request gives its number again",
        PRELUDE,
        "return redis.call('HINCRBY', COUNTERS, 'sequence', 1) - 1",
        "return redis.call('HINCRBY', COUNTERS, 'sequence', 1)",
        (CONTROL + "the_number_of_a_delayed_request_is_never_given_again",),
    ),
    Variant(
        "in memory a delayed request gives its number again",
        "book.py",
        "            self._append(entry, self.sequence, due)\n            self.sequence += 1\n",
        "            self.sequence += 1\n            self._append(entry, self.sequence, due)\n",
        (CONTROL + "the_number_of_a_delayed_request_is_never_given_again",),
    ),
    Variant(
        "a registration sent again is carried out again",
        REGISTER,
        "if answered then\n",
        "if false then\n",
        (REDIS + "a_registration_whose_answer_was_lost_is_carried_out_once",),
    ),
    Variant(
        "a late registration is carried out again",
        REGISTER,
        "if last >= call then",
        "if last == call then",
        (REDIS + "a_registration_that_comes_late_changes_nothing",),
    ),
    Variant(
        "a bind sent again forgets what it bound",
        BIND,
        "if known ~= '' then take_back() end",
        "",
        (REDIS + "a_bind_that_comes_late_keeps_no_thread_from_its_owner",),
    ),
    # Duplicates.
    Variant(
        "duplicates are registered",
        REGISTER,
        "if taken[identity] or known then",
        "if taken[identity] then",
        (DUPLICATES + "a_request_that_was_registered_before_is_left_out_and_names_the_first",),
    ),
    Variant(
        "duplicates in one call are registered",
        REGISTER,
        "        taken[identity] = true\n",
        "",
        (DUPLICATES + "a_request_that_comes_twice_in_one_call_is_left_out",),
    ),
    Variant(
        "a window never ends",
        REGISTER,
        "  forget(#ARGV)\n  entries, from = distinct(), 1\n",
        "  now = 0\n  entries, from = distinct(), 1\n",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Variant(
        "a duplicate prolongs the window",
        REGISTER,
        "        repeated[#repeated + 1] =",
        "        redis.call('ZADD', IDENTITIES, now + window, identity)\n        repeated[#repeated + 1] =",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Variant(
        "in memory a window never ends",
        "book.py",
        "for identity in self.identities.up_to(now):",
        "for identity in []:",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Variant(
        "duplicates take room",
        REGISTER,
        "if capacity > 0 then\n  local at = from\n  while at <= #entries do\n"
        "    local thread, priority, count = entries[at], entries[at + 1], tonumber(entries[at + 2])",
        "if capacity > 0 then\n  local at = from\n  while at <= #entries do\n"
        "    local thread, priority, count = entries[at], entries[at + 1], tonumber(entries[at + 2]) + #repeated",
        (DUPLICATES + "duplicates_need_no_room_in_a_bounded_tube",),
    ),
    Variant(
        "identities are noted before there is room",
        REGISTER,
        "        taken[identity] = true\n",
        "        taken[identity] = true\n        redis.call('ZADD', IDENTITIES, now + window, identity)\n"
        "        redis.call('HSET', FIRSTS, identity, '0 0 a')\n",
        (DUPLICATES + "what_found_no_room_keeps_nobody_out",),
    ),
    Variant(
        "a registration sent again forgets its duplicates",
        REGISTER,
        "  for tube, place, first in string.gmatch(duplicates,",
        "  for tube, place, first in string.gmatch('',",
        (DUPLICATES + "a_registration_whose_answer_was_lost_is_no_duplicate_of_itself",),
    ),
    Variant(
        "identities pile up",
        REGISTER,
        "'LIMIT', 0, SWEEP + count)",
        "'LIMIT', 0, 1)",
        (DUPLICATES + "more_identities_are_removed_than_a_call_can_add",),
    ),
    Variant(
        "identities outlive their handler",
        REGISTER,
        "  redis.call('PEXPIREAT', FIRSTS, latest)\n",
        "",
        (DUPLICATES + "redis_forgets_all_identities_when_the_last_window_is_over",),
    ),
    # Schedules.
    Variant(
        "an occurrence is registered by all who come",
        OCCUR,
        "local is_due = moment <= now and tonumber(redis.call('ZSCORE', OCCURRENCES, name) or -1) == moment",
        "local is_due = moment <= now",
        (SCHEDULES + "who_comes_late_to_an_occurrence_registers_nothing",),
    ),
    Variant(
        "an occurrence is registered before its time",
        OCCUR,
        "local is_due = moment <= now and",
        "local is_due =",
        (SCHEDULES + "what_is_not_due_yet_is_not_registered",),
    ),
    Variant(
        "an occurrence of a timing that was replaced is registered",
        OCCUR,
        "schedule.timing == timing",
        "true",
        (SCHEDULES + "an_occurrence_of_a_timing_that_was_replaced_is_not_registered",),
    ),
    Variant(
        "the next occurrence may lie behind",
        OCCUR,
        "and following > now",
        "",
        (SCHEDULES + "an_occurrence_whose_next_is_over_is_asked_for_again",),
    ),
    Variant(
        "every missed occurrence is caught up",
        "timing.py",
        "return begin + self.every_ms * ((now_ms - begin) // self.every_ms + 1)",
        "return begin + self.every_ms",
        (SCHEDULES + "missed_occurrences_are_caught_up_once_and_the_beat_is_kept",),
    ),
    Variant(
        "a schedule that is said again begins anew",
        "lua/schedule.lua",
        "if kept then",
        "if false then",
        (SCHEDULES + "the_same_schedule_said_again_changes_nothing",),
    ),
    Variant(
        "in memory a schedule that is said again begins anew",
        "book.py",
        "if known is None or known.timing != schedule.timing:",
        "if True:",
        (SCHEDULES + "the_same_schedule_said_again_changes_nothing",),
    ),
    Variant(
        "an occurrence goes before a delayed request that was due",
        OCCUR,
        "promote()\n",
        "",
        (SCHEDULES + "a_delayed_request_that_was_due_before_goes_before",),
    ),
    Variant(
        "a due schedule asks for nobody",
        "lua/observe.lua",
        " + redis.call('ZCOUNT', OCCURRENCES, '-inf', now)",
        "",
        (SCHEDULES + "a_due_schedule_asks_for_a_worker",),
    ),
    Variant(
        "nobody hears of a new schedule",
        "lua/schedule.lua",
        "woken = woken + 1",
        "woken = woken",
        (SCHEDULES + "whoever_waits_for_work_hears_of_a_new_schedule",),
    ),
    Variant(
        "a worker does not register what is due",
        "worker.py",
        ", self._scheduler.running():",
        ":",
        (SCHEDULES + "many_workers_handle_each_occurrence_once_and_in_time",),
    ),
    Variant(
        "a worker without room asks for nothing",
        "scheduler.py",
        "LONGEST_SILENCE = 10\n",
        "LONGEST_SILENCE = 1e9\n",
        (SCHEDULES + "a_worker_without_room_registers_in_time",),
    ),
    Variant(
        "a schedule that is unknown stops the others",
        "storages/redis.py",
        "    except ValueError as error:\n        log.warning(",
        "    except KeyError as error:\n        log.warning(",
        (SCHEDULES + "a_schedule_that_is_unknown_here_stops_no_other",),
    ),
    # Another number of threads.
    Variant(
        "new threads do not wait for old ones",
        PRELUDE,
        "  if residue then\n    redis.call('ZADD', PARKED, residue, thread)\n    return\n  end\n",
        "",
        (RESHARDING + "a_new_thread_waits_until_the_old_one_is_drained",),
    ),
    Variant(
        "in memory new threads do not wait for old ones",
        "book.py",
        "if not is_unparked and (residue := self._parking(thread)) is not None:",
        "if False and (residue := 0) is None:",
        (RESHARDING + "a_new_thread_waits_until_the_old_one_is_drained",),
    ),
    Variant(
        "one drained old thread of several is enough",
        PRELUDE,
        "if not residue or redis.call('ZREM', OLD, thread) == 0 or has_old(residue) then return end",
        "if not residue or redis.call('ZREM', OLD, thread) == 0 then return end",
        (RESHARDING + "a_new_thread_waits_for_all_old_ones_that_it_may_share_keys_with",),
    ),
    Variant(
        "in memory one drained old thread of several is enough",
        "book.py",
        "if residue is not None and not self.old.at(residue, 1) and self.parked.at(residue, 1):",
        "if residue is not None and self.parked.at(residue, 1):",
        (RESHARDING + "a_new_thread_waits_for_all_old_ones_that_it_may_share_keys_with",),
    ),
    Variant(
        "old threads wait with a rest of their own",
        RESHARD,
        "redis.call('ZADD', OLD, place % step, thread)",
        "redis.call('ZADD', OLD, place % threads, thread)",
        (RESHARDING + "the_order_of_each_key_survives_changes",),
    ),
    Variant(
        "in memory the rest is that of the new layout",
        "book.py",
        "residue = int(place) % gcd(self.layout.threads, self.before)",
        "residue = int(place) % self.layout.threads",
        (RESHARDING + "the_order_of_each_key_survives_changes",),
    ),
    Variant(
        "an old thread that waits itself counts as drained",
        RESHARD,
        "if redis.call('HEXISTS', THREADS, thread) == 1 then",
        "if redis.call('HEXISTS', THREADS, thread) == 1 and not redis.call('ZSCORE', BLOCKED, thread) then",
        (RESHARDING + "an_old_thread_that_backs_off_is_not_drained",),
    ),
    Variant(
        "an old thread in the hands of a worker counts as drained",
        RESHARD,
        "if redis.call('HEXISTS', THREADS, thread) == 1 then",
        "if redis.call('HEXISTS', THREADS, thread) == 1 and not redis.call('HGET', HELD, thread) then",
        (RESHARDING + "the_order_of_each_key_survives_changes",),
    ),
    Variant(
        "a producer may place by an old layout",
        REGISTER,
        "  return { now, 'layout', layout.number, layout.threads }\n",
        "",
        (RESHARDING + "a_change_counts_for_all_producers_at_once",),
    ),
    Variant(
        "a second change does not wait for the first",
        RESHARD,
        "if redis.call('EXISTS', OLD, OPENED) > 0 then return answer(-1, layout.number, layout.threads) end",
        "",
        (RESHARDING + "a_second_change_is_refused_until_the_first_is_finished",),
    ),
    Variant(
        "delayed requests are placed as they were registered",
        PRELUDE,
        "local thread = place(string.sub(text, at, at + length - 1), message)",
        "local thread = string.sub(text, at, at + length - 1)",
        (RESHARDING + "a_delayed_request_is_placed_by_the_layout_of_its_time",),
    ),
    Variant(
        "dead letters return to where they died",
        "lua/dead.lua",
        "local thread = place(string.sub(letter, at, at + length - 1), message)",
        "local thread = string.sub(letter, at, at + length - 1)",
        (RESHARDING + "a_dead_letter_of_the_old_layout_is_placed_by_the_new_one",),
    ),
    Variant(
        "a resumed thread does not wait for old ones",
        "lua/pause.lua",
        "make_ready(thread, tubes_of(thread)) end",
        "make_ready(thread, tubes_of(thread), true) end",
        (RESHARDING + "a_parked_thread_can_be_paused_and_resumed",),
    ),
    Variant(
        "nobody is called for a thread that waited for old ones",
        PRELUDE,
        "    redis.call('ZADD', OPENED, residue, residue)\n    woken = woken + 1\n",
        "    redis.call('ZADD', OPENED, residue, residue)\n",
        (RESHARDING + "who_waits_is_called_when_a_parked_thread_is_free",),
    ),
    Variant(
        "all parked threads become ready in one step",
        PRELUDE,
        "  local left = SWEEP\n  while left > 0 do",
        "  local left = 1000000\n  while left > 0 do",
        (RESHARDING + "many_parked_threads_become_ready_step_by_step",),
    ),
    # Fences.
    Variant(
        "the fence knows no time",
        BIND,
        "or 0) + 1, now_us)",
        "or 0) + 1, 1)",
        (COORDINATOR + "the_fence_grows_over_a_wiped_redis",),
    ),
    Variant(
        "the fence knows no fence before it",
        BIND,
        "math.max((tonumber(redis.call('HGET', COUNTERS, 'fence')) or 0) + 1, now_us)",
        "now_us",
        (COORDINATOR + "the_fence_grows_though_the_clock_of_redis_is_behind_it",),
    ),
    Variant(
        "in memory the fence knows no fence before it",
        "book.py",
        "self.fence = max(self.fence + 1, now * 1000)",
        "self.fence = now * 1000",
        (COORDINATOR + "the_fence_grows_though_the_clock_was_set_back",),
    ),
    Variant(
        "the fence is not compared",
        PRELUDE,
        "return held and held.fence == fence and held or nil",
        "return held",
        (COORDINATOR + "expired_lease_cannot_settle", COORDINATOR + "expired_lease_cannot_fail"),
    ),
    Variant(
        "in memory the fence is not compared",
        "book.py",
        "return held if held and held.fence == lease.fence else None",
        "return held",
        (COORDINATOR + "expired_lease_cannot_settle", COORDINATOR + "expired_lease_cannot_fail"),
    ),
    # Leases.
    Variant(
        "leases never expire",
        BIND,
        "ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, SWEEP))",
        "ipairs({})",
        (COORDINATOR + "an_expired_thread_is_free",),
    ),
    Variant(
        "a clock that was set back freezes threads",
        BIND,
        "redis.call('ZADD', LEASES, 'LT', now + (held and held.lease or 0), thread)",
        "",
        (COORDINATOR + "no_lease_ends_later_than_a_lease_from_now",),
    ),
    Variant(
        "the renewer ignores the deadline",
        "renewer.py",
        "if lane.deadline <= time.monotonic():",
        "if False:",
        (WORKER + "a_worker_that_cannot_renew_stops_its_handler_before_its_lease_ends",),
    ),
    Variant(
        "a lane ignores the deadline",
        "lane.py",
        "if time.monotonic() >= self.deadline:",
        "if False:",
        (WORKER + "a_handler_does_not_begin_a_batch_after_the_end_of_its_lease",),
    ),
    # Stopping.
    Variant(
        "a stopping worker takes new batches",
        "worker.py",
        "        if self._stopping or self._draining:\n            return 0\n",
        "",
        (WORKER + "a_worker_that_was_told_to_stop_takes_nothing_new",),
    ),
    Variant(
        "a handler is not stopped",
        "lane.py",
        "await handler.stop()",
        "pass",
        (WORKER + "the_lifecycle_of_the_specification",),
    ),
    Variant(
        "a handler that did not start is stopped",
        "lane.py",
        "            await handler.start()\n        except FAILURES as error:\n",
        "            await handler.start()\n        except FAILURES as error:\n            await handler.stop()\n",
        (WORKER + "a_handler_whose_start_raised_is_not_stopped_and_the_next_one_is",),
    ),
    # Cost and promptness.
    Variant(
        "a bind looks through keys",
        BIND,
        "promote()\n",
        "redis.call('KEYS', base .. '*')\npromote()\n",
        (REDIS + "no_script_looks_through_keys",),
    ),
    Variant(
        "nobody is woken",
        PRELUDE,
        "math.min(WAKE_LIMIT, woken) do redis.call('RPUSH', WAKE, '1') end",
        "math.min(WAKE_LIMIT, woken) do end",
        (COORDINATOR + "waiting_ends_when_a_request_arrives",),
    ),
    # Failures and crashes.
    Variant(
        "failed attempts are not counted",
        PRELUDE,
        "attempt = trouble.attempts + trouble.crashes + 1",
        "attempt = trouble.crashes + 1",
        (STORAGE + "attempts_are_counted_over_back_offs",),
    ),
    Variant(
        "crashes are not counted",
        PRELUDE,
        "if held then count_crash(thread, tubes, held, crash_limit) end",
        "",
        (COORDINATOR + "a_crash_counts_as_an_attempt_of_the_first_request",),
    ),
    Variant(
        "a crashed batch is handed out whole",
        PRELUDE,
        "    count = math.min(count, 1)\n",
        "",
        (COORDINATOR + "requests_of_a_crashed_batch_are_handed_out_one_by_one",),
    ),
    Variant(
        "the offender of a batch is not searched",
        "lane.py",
        "elif size == 1:",
        "elif size:",
        (WORKER + "the_offender_of_a_failing_batch_is_found_by_splitting_it",),
    ),
    # Figures.
    Variant(
        "the depth is not counted",
        PRELUDE,
        "redis.call('HINCRBY', COUNTERS, 'depth', depth_change)",
        "",
        (STORAGE + "depth_counts_what_is_not_yet_settled",),
    ),
    Variant(
        "the age of a tube stays that of its first request",
        PRELUDE,
        "redis.call('ZADD', OLDEST, stamp_of(redis.call('LINDEX', list, 0)), member)",
        "",
        (STORAGE + "a_tube_whose_head_was_settled_is_as_old_as_the_next_request",),
    ),
    Variant(
        "the depth of threads is not ranked",
        PRELUDE,
        "redis.call('ZADD', DEEP, after, thread)",
        "",
        (STORAGE + "the_deepest_threads_are_listed_deepest_first",),
    ),
    Variant(
        "a look for threads is not remembered",
        BIND,
        "if threads > 0 then redis.call('HSET', COUNTERS, 'looked', whole(now)) end",
        "",
        (STORAGE + "a_look_of_a_worker_is_remembered",),
    ),
    # A repair.
    Variant(
        "a repair takes a lease that is sound",
        "lua/repair.lua",
        "if held.last < held.first then return true end",
        "if held.last < held.first then return false end",
        ("test_repair.py::test_a_repair_of_what_is_true_writes_nothing",),
    ),
    Variant(
        "a repair leaves other requests in a holder's hands",
        "lua/repair.lua",
        " and not tube.is_cut",
        "",
        ("test_repair.py::test_what_was_broken_is_put_right",),
    ),
    # What Redis is and is not allowed to do.
    Variant(
        "a full Redis does not drain",
        SETTLE,
        "#!lua flags=allow-oom\n",
        "#!lua\n",
        (REDIS + "a_redis_at_its_memory_limit_still_drains",),
    ),
    Variant(
        "a Redis that evicts is used",
        "storages/redis.py",
        'if policy not in (None, b"noeviction"):',
        "if False:",
        (REDIS + "a_redis_that_throws_requests_away_is_refused",),
    ),
    Variant(
        "binds have no hash tag",
        "tube.py",
        'return f"{self.binds}{{{shard.tag}}}"',
        'return f"{self.binds}{shard.tag}"',
        (REDIS + "all_keys_of_a_script_share_a_hash_tag",),
    ),
]
