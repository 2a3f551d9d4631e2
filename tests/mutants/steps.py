"""What takes many requests takes them in bounded steps, in their order, and a thread stays paused between them."""

from tests.mutants.mutant import CLOCK, DUPLICATES, PRELUDE, Mutant

SETTLE_DEAD, MEMORY_SETTLE_DEAD = "backends/redis/lua/settle_dead.lua", "backends/memory/steps/settle_dead.py"
LETTERS, RUNNING = "test_letters.py::test_", "test_running_now.py::test_"

MUTANTS = [
    Mutant(
        "a thread is bound between two steps of its replay",
        SETTLE_DEAD,
        "    redis.call('ZADD', BLOCKED, PAUSED, thread)\n",
        "",
        (LETTERS + "no_worker_gets_the_thread_between_two_steps_to_its_head",),
    ),
    Mutant(
        "in memory a thread is bound between two steps of its replay",
        MEMORY_SETTLE_DEAD,
        "        shard.blocked.put(thread, inf)\n",
        "",
        (LETTERS + "no_worker_gets_the_thread_between_two_steps_to_its_head",),
    ),
    Mutant(
        "letters go to the head of a thread that was resumed meanwhile",
        SETTLE_DEAD,
        "(held_of(thread) or not is_first and not is_stopped)",
        "held_of(thread)",
        (LETTERS + "letters_stay_where_a_person_resumed_their_thread_between_two_steps",),
    ),
    Mutant(
        "in memory letters go to the head of a thread that was resumed meanwhile",
        MEMORY_SETTLE_DEAD,
        " and (part.is_first or shard.blocked.score(thread) == inf)",
        "",
        (LETTERS + "letters_stay_where_a_person_resumed_their_thread_between_two_steps",),
    ),
    Mutant(
        "a replay ends the pause that a person set",
        SETTLE_DEAD,
        "redis.call('HDEL', ACTS, thread) == 1 and not is_passing",
        "not is_passing",
        (LETTERS + "a_pause_that_a_person_set_stays",),
    ),
    Mutant(
        "a replay ends the pause that a person set meanwhile",
        "backends/redis/lua/pause.lua",
        "lasts == '' and 'HDEL' or 'HEXISTS'",
        "'HEXISTS'",
        (LETTERS + "a_pause_that_a_person_set_stays",),
    ),
    Mutant(
        "the letters of a step to the head turn round",
        SETTLE_DEAD,
        "target == 'head' and 'LPUSH' or 'RPUSH'",
        "'RPUSH'",
        (LETTERS + "letters_of_several_steps_go_before_what_waits_in_their_order",),
    ),
    Mutant(
        "the first letters of a thread go to the head first",
        "letters.py",
        "        letters.reverse()\n",
        "        pass\n",
        (LETTERS + "letters_of_several_steps_go_before_what_waits_in_their_order",),
    ),
    Mutant(
        "a step of letters has no bound of bytes",
        SETTLE_DEAD,
        "    if room <= 0 then return done, false end\n",
        "",
        (LETTERS + "a_step_moves_no_more_than_its_bytes",),
    ),
    Mutant(
        "a step takes any number",
        "storage.py",
        "    if len(numbers) > STEP_NUMBERS:",
        "    if False:",
        (LETTERS + "a_step_takes_five_hundred_letters_at_most",),
    ),
    Mutant(
        "a step runs delayed requests of any size",
        "backends/redis/lua/run_delayed.lua",
        "  if room <= 0 then break end\n",
        "",
        (RUNNING + "a_step_runs_no_more_than_its_bytes",),
    ),
    Mutant(
        "a cancelled request keeps its identity",
        "backends/redis/lua/cancel.lua",
        "    free_identity(number)\n",
        "",
        (DUPLICATES + "a_cancelled_request_keeps_no_others_out",),
    ),
    Mutant(
        "in memory a cancelled request keeps its identity",
        "backends/memory/steps/cancel.py",
        "        _free_identity(shard, number)\n",
        "",
        (DUPLICATES + "a_cancelled_request_keeps_no_others_out",),
    ),
    Mutant(
        "a cancelled request frees the identity of a later one",
        "backends/redis/lua/cancel.lua",
        "'^%d+')) ~= tonumber(number) then return end",
        "'^%d+')) == 0 then return end",
        (DUPLICATES + "cancelling_frees_no_identity_that_another_request_has_by_now",),
    ),
    Mutant(
        "in memory a cancelled request frees the identity of a later one",
        "backends/memory/steps/cancel.py",
        " and shard.firsts[identity].sequence == number:",
        ":",
        (DUPLICATES + "cancelling_frees_no_identity_that_another_request_has_by_now",),
    ),
    Mutant(
        "a step of the clock shifts all waits in one step",
        PRELUDE,
        "  shift_waits(SHIFT_STEP)\nend\n\n-- Store the time",
        "  while shift do shift_waits(SHIFT_STEP) end\nend\n\n-- Store the time",
        (CLOCK + "a_step_of_the_clock_brings_so_many_waits_forward_at_once",),
    ),
    Mutant(
        "what begins to wait during a shift is shifted",
        PRELUDE,
        "return is_shifted and moment or integer(moment + shift.by)",
        "return moment",
        (CLOCK + "what_begins_to_wait_between_two_steps_waits_as_long_as_was_asked",),
    ),
    Mutant(
        "waits of cron lines hold up a shift",
        PRELUDE,
        "shift.skip = shift.skip + 1",
        "shift.skip = 0",
        (CLOCK + "schedules_that_keep_their_times_do_not_hold_up_the_others",),
    ),
    Mutant(
        "a bind looks at all leases that are longer than its own",
        PRELUDE,
        "    if not last[1] or not clamp_lease(last[1], last[2]) then return end\n",
        "    if last[1] then clamp_lease(last[1], last[2]) end\n",
        (CLOCK + "a_bind_looks_at_one_lease_though_others_are_longer",),
    ),
]
