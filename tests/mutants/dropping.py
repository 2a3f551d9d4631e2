"""A person drops requests, runs others now, or retimes them: nothing else is lost, passed or counted wrongly."""

from tests.mutants.mutant import EVERY_SCRIPT, PRELUDE, Mutant

DROP = "backends/redis/lua/drop.lua"
MEMORY_DROP = "backends/memory/steps/drop.py"
DROPPING, RUNNING, RETIMING = (f"test_{name}.py::test_" for name in ("dropping", "running_now", "retiming"))
MOVE, EDIT = (f"backends/redis/lua/{name}.lua" for name in ("move_delayed", "edit_schedule"))
MEMORY_MOVE, MEMORY_EDIT = (f"backends/memory/steps/{name}.py" for name in ("move_delayed", "edit_schedule"))

MUTANTS = [
    Mutant(
        "requests are dropped however deep they are",
        DROP,
        "      if needed > reach then",
        "      if false then",
        (DROPPING + "requests_deep_in_a_tube_stay",),
    ),
    Mutant(
        "what is in hand is dropped",
        DROP,
        "return is_in_hand and math.max(0, held.last - tube.head + 1) or 0",
        "return 0",
        (DROPPING + "what_a_worker_has_in_hand_stays",),
    ),
    Mutant(
        "in memory what is in hand is dropped",
        MEMORY_DROP,
        "elif place < _hand(shard, thread, request.priority):",
        "elif False:",
        (DROPPING + "what_a_worker_has_in_hand_stays",),
    ),
    Mutant(
        "a request is dropped by its number alone",
        DROP,
        "if message and redis.sha1hex(message) == digest then",
        "if message then",
        (DROPPING + "another_request_of_the_same_number_is_not_dropped",),
    ),
    Mutant(
        "in memory a request is dropped by its number alone",
        MEMORY_DROP,
        " or digest_of(tube.messages[place]) != request.digest:",
        ":",
        (DROPPING + "another_request_of_the_same_number_is_not_dropped",),
    ),
    Mutant(
        "a thread without requests stays ready",
        DROP,
        "    redis.call('ZREM', READY, thread)\n",
        "",
        (DROPPING + "a_thread_without_a_request_left_is_not_bound",),
    ),
    Mutant(
        "a holder without requests counts as busy after a drop",
        DROP,
        "      held.since = '0'\n",
        "",
        (DROPPING + "a_holder_that_waits_for_the_next_request_gets_it_after_a_drop",),
    ),
    Mutant(
        "the suspicion of a crash moves on to others",
        PRELUDE,
        "  failure.last = failure.last - 1\n",
        "",
        (DROPPING + "the_suspicion_of_a_crash_stays_with_its_requests",),
    ),
    Mutant(
        "a drop leaves no record",
        DROP,
        "  remember_drop(encode_drop(actor, thread, letters, reason))\n",
        "",
        (DROPPING + "who_dropped_what_and_why_remains",),
    ),
    Mutant(
        "a drop of dead letters leaves no record",
        "backends/redis/lua/settle_dead.lua",
        "  if actor ~= '' and #done > 0 then record_drop(done) end\n",
        "",
        (DROPPING + "who_dropped_dead_letters_and_why_is_one_record_of_all_steps",),
    ),
    Mutant(
        "each step of a drop of dead letters leaves a record",
        "backends/redis/lua/settle_dead.lua",
        "local record = not is_first and",
        "local record = false and",
        (DROPPING + "who_dropped_dead_letters_and_why_is_one_record_of_all_steps",),
    ),
    Mutant(
        "a large thread is dropped in one step",
        DROP,
        "math.min(waiting, limit), room)",
        "waiting, room)",
        (DROPPING + "a_large_thread_is_dropped_in_steps",),
    ),
    Mutant(
        "what a gone worker had in hand stays until the next bind",
        DROP,
        "tonumber(redis.call('ZSCORE', LEASES, thread) or 0) <= now then",
        "false then",
        (DROPPING + "what_a_gone_worker_had_in_hand_is_dropped_without_the_next_bind",),
    ),
    Mutant(
        "a schedule that is run occurs later",
        "backends/redis/lua/run_schedule.lua",
        "finish()\n",
        "redis.call('ZINCRBY', OCCURRENCES, 600000, ARGV[1])\nfinish()\n",
        (RUNNING + "a_schedule_that_is_run_registers_its_request_behind_the_others",),
    ),
    Mutant(
        "a schedule is run on the thread that it had",
        "backends/redis/lua/run_schedule.lua",
        "thread_in_force(schedule.thread, message), schedule.priority",
        "schedule.thread, schedule.priority",
        (RUNNING + "a_schedule_is_run_on_the_thread_that_its_key_has_now",),
    ),
    Mutant(
        "a delayed request that is run is as old as its registration",
        "backends/redis/lua/run_delayed.lua",
        "redis.call('ZADD', DUE, moment, number) end",
        "redis.call('ZADD', DUE, moment - 60000, number) end",
        (RUNNING + "delayed_requests_that_are_run_join_their_tube_in_the_order_that_was_asked_for",),
    ),
    Mutant(
        "in memory a delayed request that was run stays delayed",
        "backends/memory/steps/run_delayed.py",
        "        shard.due.discard(waiting[number])\n",
        "",
        (RUNNING + "a_delayed_request_that_was_run_is_neither_run_nor_cancelled_again",),
    ),
    Mutant(
        "a delayed request is moved to the past",
        MOVE,
        "if now < due and due",
        "if due",
        (RETIMING + "a_time_that_has_passed_or_is_too_far_is_refused",),
    ),
    Mutant(
        "a delayed request is moved farther than one may be delayed",
        MOVE,
        " and due <= now + furthest then",
        " then",
        (RETIMING + "a_time_that_has_passed_or_is_too_far_is_refused",),
    ),
    Mutant(
        "in memory a delayed request is moved to the past",
        MEMORY_MOVE,
        "    check_due(due_ms, now)\n",
        "",
        (RETIMING + "a_time_that_has_passed_or_is_too_far_is_refused",),
    ),
    Mutant(
        "what is not delayed any more is moved",
        MOVE,
        "if read_delayed(text) then",
        "if true then",
        (RETIMING + "a_request_that_is_in_its_tube_or_cancelled_is_not_moved",),
    ),
    Mutant(
        "in memory a delayed request that is moved stays at its old time as well",
        MEMORY_MOVE,
        "        shard.due.discard(waiting[number])\n",
        "",
        (RETIMING + "a_delayed_request_that_is_moved_comes_at_its_new_time",),
    ),
    Mutant(
        "workers sleep through a delayed request that comes sooner",
        MOVE,
        "if #moved > 0 then woken = woken + 1 end",
        "",
        (RETIMING + "a_delayed_request_that_is_moved_wakes_a_worker",),
    ),
    Mutant(
        "in memory workers sleep through a delayed request that comes sooner",
        MEMORY_MOVE,
        "        shard.wake()",
        "        pass",
        (RETIMING + "a_delayed_request_that_is_moved_wakes_a_worker",),
    ),
    Mutant(
        "a schedule that is edited keeps its next occurrence",
        EDIT,
        "redis.call('ZADD', OCCURRENCES, occurrence_end(timing, following), name)",
        "redis.call('ZADD', OCCURRENCES, 'NX', following, name)",
        (RETIMING + "a_schedule_that_is_edited_occurs_by_its_new_timing",),
    ),
    Mutant(
        "in memory an occurrence that stays is counted from the edit",
        MEMORY_EDIT,
        "if known.timing != timing:",
        "if True:",
        (RETIMING + "a_schedule_that_is_edited_to_the_timing_that_it_has_occurs_when_it_would_have",),
    ),
    Mutant(
        "workers sleep through a schedule that comes sooner",
        EDIT,
        "woken = woken + 1",
        "woken = woken",
        (RETIMING + "a_schedule_that_is_edited_wakes_a_worker",),
    ),
    Mutant(
        "a late edit of a schedule is carried out",
        EDIT,
        "if earlier ~= nil then return earlier end\n",
        "",
        (EVERY_SCRIPT.format("edit_schedule"),),
    ),
    Mutant(
        "a late move of a delayed request is carried out",
        MOVE,
        "if earlier ~= nil then return earlier end\n",
        "",
        (EVERY_SCRIPT.format("move_delayed"),),
    ),
    *[
        Mutant(
            f"a late or repeated {script} is carried out",
            f"backends/redis/lua/{script}.lua",
            "if earlier ~= nil then return earlier end\n",
            "",
            (f"test_every_script.py::test_a_command_that_is_sent_again_has_the_answer_of_the_first[{script}]",),
        )
        for script in ("run_delayed", "run_schedule")
    ],
    Mutant(
        "a late or repeated drop is carried out",
        DROP,
        "if earlier ~= nil then return earlier end\n",
        "",
        (EVERY_SCRIPT.format("drop all"),),
    ),
]
