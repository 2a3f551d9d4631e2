"""What takes many requests takes them in bounded steps, in their order, and a thread stays paused between them."""

from tests.mutants.mutant import DUPLICATES, Mutant

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
        "return redis.call('HDEL', ACTS, thread) == 1 and redis.call('ZREM', BLOCKED, thread) == 1",
        "return redis.call('ZREM', BLOCKED, thread) == 1",
        (LETTERS + "a_pause_that_a_person_set_stays",),
    ),
    Mutant(
        "a replay ends the pause that a person set meanwhile",
        "backends/redis/lua/pause.lua",
        "redis.call('HDEL', ACTS, thread) == 1",
        "redis.call('HEXISTS', ACTS, thread) == 1",
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
        (LETTERS + "a_step_takes_a_thousand_letters_at_most",),
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
]
