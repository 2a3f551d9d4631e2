"""Registering: duplicates, schedules, and producers that are not async."""

from tests.mutants.mutant import (
    DUPLICATES,
    PRELUDE,
    REDIS,
    REGISTER,
    REGISTER_DUE,
    SCHEDULES,
    STORAGE,
    SYNC,
    URL,
    Mutant,
)

MUTANTS = [
    # Messages in one argument.
    Mutant(
        "messages in one argument are not counted",
        REGISTER,
        "    if #messages ~= -count then",
        "    if false then",
        (REDIS + "a_registration_with_another_number_of_messages_than_it_says_is_refused_whole",),
    ),
    Mutant(
        "messages in one argument need no room",
        REGISTER,
        "math.abs(tonumber(entries[places[i] + 2]))",
        "tonumber(entries[places[i] + 2])",
        (STORAGE + "registering_is_all_or_nothing",),
    ),
    Mutant(
        "all messages in one argument have the length of the first",
        "backends/redis/storage.py",
        "heads[len(body)] + body",
        "heads[len(bodies[0])] + body",
        (STORAGE + "messages_of_any_bytes_and_lengths_come_back_as_they_were",),
    ),
    # Duplicates.
    Mutant(
        "duplicates are registered",
        REGISTER,
        "if taken[identity] or known then",
        "if taken[identity] then",
        (DUPLICATES + "a_request_that_was_registered_before_is_left_out_and_names_the_first",),
    ),
    Mutant(
        "duplicates in one call are registered",
        REGISTER,
        "        taken[identity] = true\n",
        "",
        (DUPLICATES + "a_request_that_comes_twice_in_one_call_is_left_out",),
    ),
    Mutant(
        "a window never ends",
        REGISTER,
        "  forget(#ARGV)\n  entries, from = distinct(), 1\n",
        "  now = 0\n  entries, from = distinct(), 1\n",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Mutant(
        "a duplicate prolongs the window",
        REGISTER,
        "        repeated[#repeated + 1] =",
        "        redis.call('ZADD', IDENTITIES, now + window, identity)\n        repeated[#repeated + 1] =",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Mutant(
        "in memory a window never ends",
        "backends/memory/steps/register.py",
        "for identity in shard.identities.up_to(now):",
        "for identity in []:",
        (DUPLICATES + "the_window_begins_with_the_registration_and_no_duplicate_prolongs_it",),
    ),
    Mutant(
        "duplicates take room",
        REGISTER,
        "    local priority, count = entries[places[i] + 1], math.abs(tonumber(entries[places[i] + 2]))",
        "    local priority, count = entries[places[i] + 1], tonumber(entries[places[i] + 2]) + #repeated",
        (DUPLICATES + "duplicates_need_no_room_in_a_bounded_tube",),
    ),
    Mutant(
        "identities are noted before there is room",
        REGISTER,
        "        taken[identity] = true\n",
        "        taken[identity] = true\n        redis.call('ZADD', IDENTITIES, now + window, identity)\n"
        "        redis.call('HSET', FIRSTS, identity, '0 0 a')\n",
        (DUPLICATES + "what_found_no_room_keeps_nobody_out",),
    ),
    Mutant(
        "a registration sent again forgets its duplicates",
        REGISTER,
        "return store_answer(ARGV[1], reply)",
        "store_answer(call, { unpack(reply, 1, #routes + 1) })\nreturn reply",
        (DUPLICATES + "a_registration_whose_answer_was_lost_is_no_duplicate_of_itself",),
    ),
    Mutant(
        "identities pile up",
        REGISTER,
        "'LIMIT', '0', SWEEP + count)",
        "'LIMIT', 0, 1)",
        (DUPLICATES + "more_identities_are_removed_than_a_call_can_add",),
    ),
    Mutant(
        "identities outlive their handler",
        REGISTER,
        "  redis.call('PEXPIREAT', FIRSTS, latest)\n",
        "",
        (DUPLICATES + "redis_forgets_all_identities_when_the_last_window_is_over",),
    ),
    # Schedules.
    Mutant(
        "an occurrence is registered by all who come",
        REGISTER_DUE,
        "local is_due = moment <= now and tonumber(redis.call('ZSCORE', OCCURRENCES, name) or -1) == moment",
        "local is_due = moment <= now",
        (SCHEDULES + "who_comes_late_to_an_occurrence_registers_nothing",),
    ),
    Mutant(
        "an occurrence is registered before its time",
        REGISTER_DUE,
        "local is_due = moment <= now and",
        "local is_due =",
        (SCHEDULES + "what_is_not_due_yet_is_not_registered",),
    ),
    Mutant(
        "an occurrence of a timing that was replaced is registered",
        REGISTER_DUE,
        "schedule.timing == timing",
        "true",
        (SCHEDULES + "an_occurrence_of_a_timing_that_was_replaced_is_not_registered",),
    ),
    Mutant(
        "the next occurrence may lie behind",
        REGISTER_DUE,
        "and following > now",
        "",
        (SCHEDULES + "an_occurrence_whose_next_is_over_is_asked_for_again",),
    ),
    Mutant(
        "every missed occurrence is caught up",
        "timing.py",
        "return begin + self.every_ms * ((now_ms - begin) // self.every_ms + 1)",
        "return begin + self.every_ms",
        (SCHEDULES + "missed_occurrences_are_caught_up_once_and_the_beat_is_kept",),
    ),
    Mutant(
        "a schedule that two say at once is kept twice",
        "queue/queue.py",
        "        await self._keep_one(schedule, home, others, layout)\n",
        "",
        (f"{SCHEDULES}two_that_say_one_name_at_the_same_time_leave_one_schedule",),
    ),
    Mutant(
        "a schedule that is said again begins anew",
        PRELUDE,
        "  if kept then return encode_moment(kept) end\n",
        "",
        (
            SCHEDULES + "the_same_schedule_said_again_changes_nothing",
            "test_retiming.py::test_a_schedule_that_is_edited_to_the_timing_that_it_has_occurs_when_it_would_have",
        ),
    ),
    Mutant(
        "in memory a schedule that is said again begins anew",
        "backends/memory/steps/schedule.py",
        "if known is None or known.timing != new.timing:",
        "if True:",
        (SCHEDULES + "the_same_schedule_said_again_changes_nothing",),
    ),
    Mutant(
        "an occurrence goes before a delayed request that was due",
        REGISTER_DUE,
        "promote()\n",
        "",
        (SCHEDULES + "a_delayed_request_that_was_due_before_goes_before",),
    ),
    Mutant(
        "a due schedule asks for nobody",
        "backends/redis/lua/observe.lua",
        " + redis.call('ZCOUNT', OCCURRENCES, '-inf', now_text)",
        "",
        (SCHEDULES + "a_due_schedule_asks_for_a_worker",),
    ),
    Mutant(
        "nobody hears of a new schedule",
        "backends/redis/lua/schedule.lua",
        "woken = woken + 1",
        "woken = woken",
        (SCHEDULES + "whoever_waits_for_work_hears_of_a_new_schedule",),
    ),
    Mutant(
        "a worker does not register what is due",
        "worker/loop.py",
        ", self._scheduler.running(),",
        ",",
        (SCHEDULES + "many_workers_handle_each_occurrence_once_and_in_time",),
    ),
    Mutant(
        "a worker without room asks for nothing",
        "worker/scheduler.py",
        "LONGEST_SILENCE = 10\n",
        "LONGEST_SILENCE = 1e9\n",
        (SCHEDULES + "a_worker_without_room_registers_in_time",),
    ),
    Mutant(
        "a schedule that is unknown stops the others",
        "backends/redis/storage.py",
        "    except (ValueError, OverflowError) as error:\n        log.warning(",
        "    except KeyError as error:\n        log.warning(",
        (SCHEDULES + "a_schedule_that_is_unknown_here_stops_no_other",),
    ),
    # Producers that are not async.
    Mutant(
        "a fork keeps the event loop of its parent",
        "sync.py",
        "os.register_at_fork(after_in_child=_forget_all)\n",
        "",
        (SYNC + "parent_and_child_of_a_fork_register_each_for_itself",),
    ),
    Mutant(
        "a queue closes under a call",
        "sync.py",
        "        await asyncio.gather(*calls, return_exceptions=True)\n",
        "",
        (SYNC + "closing_waits_for_a_call_that_is_under_way",),
    ),
    Mutant(
        "an event loop is blocked in silence",
        "sync.py",
        """        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._open().run(call)
""",
        "        return self._open().run(call)\n",
        (SYNC + "a_call_in_an_event_loop_is_refused_with_what_to_do",),
    ),
    # Where Redis is.
    Mutant(
        "a database is not selected",
        "backends/redis/client.py",
        "db=options.database, max_connections=1000",
        "max_connections=1000",
        (URL + "a_database_of_a_single_server_holds_all_keys",),
    ),
    Mutant(
        "the user of a URL is forgotten",
        "backends/redis/url.py",
        "username, password = _credentials(userinfo)",
        "username, password = None, None",
        (URL + "a_user_of_the_url_is_the_user_of_all_connections",),
    ),
]
