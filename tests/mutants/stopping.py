"""A thread that stands still for a request without tries."""

from tests.mutants.mutant import FAIL, PRELUDE, Mutant

STANDS, WORKER = "test_exhausted.py::test_", "worker/test_stopping.py::test_"
LUA = "backends/redis/lua/"
SHARD, STEPS = "backends/memory/shard.py", "backends/memory/steps/"

MUTANTS = [
    Mutant(
        "an exhausted request is a dead letter whatever its policy says",
        "worker/failures.py",
        'return policy.exhausted == "pause"',
        "return False",
        (WORKER + "one_that_is_given_up_stops_its_thread_at_once",),
    ),
    Mutant(
        "a snooze too many is a dead letter whatever the policy says",
        "worker/failures.py",
        "most_snoozes=bound, stops=stops(policy))",
        "most_snoozes=bound)",
        (WORKER + "one_that_snoozes_too_often_stops_its_thread",),
    ),
    Mutant(
        "a worker that binds says nothing of stops",
        "worker/binder.py",
        "self._host.stops_exhausted(shard)",
        "False",
        (WORKER + "a_request_that_kills_its_workers_stops_its_thread",),
    ),
    Mutant(
        "a stopped thread is free",
        PRELUDE,
        "  redis.call('ZADD', BLOCKED, 'GT', STOPPED, thread) -- a pause stays\n",
        "",
        (STANDS + "no_worker_gets_a_thread_that_stands_still",),
    ),
    Mutant(
        "a stop takes the place of a pause",
        PRELUDE,
        "redis.call('ZADD', BLOCKED, 'GT', STOPPED, thread) -- a pause stays",
        "redis.call('ZADD', BLOCKED, STOPPED, thread)",
        (STANDS + "neither_a_pause_nor_a_stop_ends_the_other",),
    ),
    Mutant(
        "the end of a pause ends a stop",
        PRELUDE,
        "if redis.call('HGET', EXHAUSTED, thread) then return",
        "if false then return",
        (STANDS + "a_pause_that_ends_by_itself_ends_no_stop",),
    ),
    Mutant(
        "the end of a stop ends a pause",
        PRELUDE,
        "return redis.call('ZSCORE', BLOCKED, thread) == STOPPED and redis.call('ZREM', BLOCKED, thread) == 1",
        "return redis.call('ZREM', BLOCKED, thread) == 1",
        (STANDS + "threads_that_are_tried_anew_stay_paused",),
    ),
    Mutant(
        "a resumed request has no try more than before",
        PRELUDE,
        "    failure.attempts, failure.crashes = 0, 0\n",
        "",
        (STANDS + "resumed_it_is_tried_anew",),
    ),
    Mutant(
        "a request that kills its workers is a dead letter also where it stops its thread",
        PRELUDE,
        "      if is_exhausted and not stops then\n",
        "      if is_exhausted then\n",
        (STANDS + "a_request_that_kills_its_workers_stops_its_thread",),
    ),
    Mutant(
        "a drop decides about a request that kills its workers",
        LUA + "drop.lua",
        "expire(thread, math.huge)",
        "expire(thread, 5)",
        (STANDS + "a_drop_decides_nothing_about_a_request_that_kills_its_workers",),
    ),
    Mutant(
        "a thread stands still for a request that was dropped",
        LUA + "drop.lua",
        "  if is_stop_over() and end_stop(thread) then make_ready(thread, tubes) end\n",
        "",
        (STANDS + "dropping_the_request_ends_its_stop",),
    ),
    Mutant(
        "the drop of any request ends a stop",
        LUA + "drop.lua",
        "return priority and (not failure or failure.reason == '')",
        "return priority",
        (STANDS + "dropping_others_does_not",),
    ),
    Mutant(
        "a thread that failed again since is tried anew",
        LUA + "try_anew.lua",
        "if redis.call('HGET', EXHAUSTED, thread) == ARGV[i + 1] then",
        "if redis.call('HGET', EXHAUSTED, thread) then",
        (STANDS + "what_is_tried_anew_is_what_was_listed",),
    ),
    Mutant(
        "a replay to the head leaves a stopped thread to those who resume it",
        LUA + "settle_dead.lua",
        "is_withheld(till) and till ~= STOPPED",
        "is_withheld(till)",
        (STANDS + "letters_go_to_the_head_of_a_thread_that_stands_still",),
    ),
    Mutant(
        "a failure that stops a thread and is sent again is lost",
        FAIL,
        "return again and (delay >= 0 or stops) and",
        "return again and delay >= 0 and",
        (STANDS + "a_stop_whose_answer_was_lost_is_no_loss",),
    ),
    Mutant(
        "in memory, the end of a pause ends a stop",
        SHARD,
        "        if thread in self.exhausted:\n            self.blocked.put(thread, STOPPED)\n",
        "        if False:\n            self.blocked.put(thread, STOPPED)\n",
        (STANDS + "a_pause_that_ends_by_itself_ends_no_stop",),
    ),
    Mutant(
        "in memory, a resumed request has no try more than before",
        SHARD,
        "failure._replace(attempts=0, crashes=0)",
        "failure",
        (STANDS + "resumed_it_is_tried_anew",),
    ),
    Mutant(
        "in memory, an exhausted request is a dead letter",
        STEPS + "fail.py",
        "    if failure.stops:\n        record = _record_of",
        "    if False:\n        record = _record_of",
        (STANDS + "no_worker_gets_a_thread_that_stands_still",),
    ),
    Mutant(
        "a sandbox waits for an exhausted request",
        "testing.py",
        "    waiting = snoozing | shard.exhausted.keys()\n",
        "    waiting = snoozing\n",
        ("../unit/sharded_queue/test_testing.py::test_an_exhausted_request_waits_for_a_person",),
    ),
]
