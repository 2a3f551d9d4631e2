"""A person drops requests, and runs others now: nothing else is lost, passed or counted wrongly."""

from tests.mutants.mutant import EVERY_SCRIPT, PRELUDE, Mutant

DROP = "backends/redis/lua/drop.lua"
MEMORY_DROP = "backends/memory/steps/drop.py"
DROPPING = "test_dropping.py::test_"

MUTANTS = [
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
        "  redis.call('LPUSH', DROPS, encode_drop(actor, thread, letters, reason))\n",
        "",
        (DROPPING + "who_dropped_what_and_why_remains",),
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
        "a late or repeated drop is carried out",
        DROP,
        "if earlier ~= nil then return earlier end\n",
        "",
        (EVERY_SCRIPT.format("drop all"),),
    ),
]
