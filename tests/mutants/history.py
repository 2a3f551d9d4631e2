"""What went wrong lately is kept, and not too much of it."""

from tests.mutants.mutant import CONTROL, FAIL, PRELUDE, Mutant

HISTORY = "test_history.py::test_"

PROGRESS = "test_progress.py::test_"

MUTANTS = [
    Mutant(
        "a report of the batch before is shown",
        PRELUDE,
        "return fence == held.fence and first == integer(held.first) and text or ''",
        "return fence == held.fence and text or ''",
        (PROGRESS + "a_report_ends_with_its_batch",),
    ),
    Mutant(
        "a report of a lost lease is kept",
        "backends/redis/lua/renew.lua",
        "    lost[#lost + 1] = threads[i]\n",
        "    lost[#lost + 1] = threads[i]\n    reports[#reports + 1] = i\n",
        (PROGRESS + "a_report_of_a_lost_lease_changes_nothing",),
    ),
    Mutant(
        "a report that comes late takes progress back",
        "backends/redis/lua/renew.lua",
        "if known == batch and",
        "if false and",
        (PROGRESS + "a_report_never_goes_back_within_its_batch",),
    ),
    Mutant(
        "in memory a report that comes late takes progress back",
        "backends/memory/shard.py",
        " or known.done <= report.done:",
        " or True:",
        (PROGRESS + "a_report_never_goes_back_within_its_batch",),
    ),
    Mutant(
        "a renewal carries no report",
        "worker/lease_renewer.py",
        "if (report := lane.report)}",
        "if (report := lane.report) and False}",
        (PROGRESS + "a_handler_reports_its_progress",),
    ),
    Mutant(
        "a failure that is put off leaves no trace",
        FAIL,
        "  if not snoozes then note_failed(thread, priority, sequence, attempt, reason, ARGV[11]) end\n",
        "",
        (HISTORY + "each_try_that_failed_is_remembered_the_newest_first",),
    ),
    Mutant(
        "failures of a thread are kept without a bound",
        PRELUDE,
        "ends[math.min(#ends, KEPT - 1)]",
        "ends[#ends]",
        (HISTORY + "ten_failures_are_remembered",),
    ),
    Mutant(
        "failures of any number of threads are kept",
        PRELUDE,
        "redis.call('ZRANGE', FAILED, 0, -THREADS_KEPT - 1)",
        "{}",
        (HISTORY + "the_last_thousand_threads_that_failed_are_remembered",),
    ),
    Mutant(
        "a history that cannot be read is kept",
        PRELUDE,
        "local ends = read_history(earlier) or {}",
        "local ends = read_history(earlier) or { #earlier }",
        (HISTORY + "a_history_that_cannot_be_read_begins_anew",),
    ),
    Mutant(
        "in memory a worker that died leaves no trace",
        "backends/memory/shard.py",
        '        self.note_failed(thread, PastFailure(now, held.priority, tube.head, attempt, f"{held.owner} died"))\n',
        "",
        (HISTORY + "a_worker_that_died_is_remembered_by_its_name",),
    ),
    Mutant(
        "the reason of a pause outlasts it",
        PRELUDE,
        "  redis.call('HDEL', PAUSES, thread)\n  redis.call('ZREM', RESUMES, thread)\n  return changed\n",
        "  redis.call('ZREM', RESUMES, thread)\n  return changed\n",
        (CONTROL + "a_pause_with_an_end_ends_by_itself",),
    ),
    Mutant(
        "a pause without a word takes the reason of the one before",
        "backends/redis/lua/pause.lua",
        "  if actor == '' and changed == 0 then return end\n",
        "",
        (CONTROL + "who_paused_a_thread_and_why_is_kept_until_it_is_resumed",),
    ),
    Mutant(
        "nobody says who paused the handler of a thread",
        "backends/redis/lua/explain.lua",
        "redis.call('HGET', PAUSES, thread) or all_paused == 1 and redis.call('HGET', PAUSES, '') or ''",
        "redis.call('HGET', PAUSES, thread) or ''",
        (CONTROL + "who_paused_a_handler_is_known_of_each_of_its_threads",),
    ),
    Mutant(
        "the end of a pause that was resumed ends a back-off",
        PRELUDE,
        "  redis.call('HDEL', PAUSES, thread)\n  redis.call('ZREM', RESUMES, thread)\n  return changed\n",
        "  redis.call('HDEL', PAUSES, thread)\n  return changed\n",
        (CONTROL + "the_end_of_a_pause_that_was_resumed_ends_nothing",),
    ),
    Mutant(
        "the end of a pause takes a thread out of an act",
        PRELUDE,
        "  if not redis.call('HGET', ACTS, thread) then return resume(thread) end\n",
        "  if resume(thread) then return end\n",
        (CONTROL + "the_end_of_a_pause_takes_no_thread_out_of_an_act",),
    ),
    Mutant(
        "an act ends a pause that ends by itself",
        "backends/redis/lua/settle_dead.lua",
        "not is_passing and unblock(thread) == 1",
        "unblock(thread) == 1",
        (CONTROL + "a_pause_that_is_to_end_outlasts_an_act",),
    ),
    Mutant(
        "no worker learns when a pause ends",
        "backends/redis/lua/bind.lua",
        "math.min(tonumber(first or nil) or math.huge, first_moment(RESUMES))",
        "tonumber(first or nil) or math.huge",
        (CONTROL + "a_worker_learns_when_a_pause_will_end",),
    ),
    Mutant(
        "a pause whose end has come lasts until a worker polls",
        "backends/redis/lua/observe.lua",
        "  if paused or is_withheld(blocked) and blocked ~= STOPPED and not is_over then return 'paused' end\n",
        "  if paused or is_withheld(blocked) and blocked ~= STOPPED then return 'paused' end\n",
        (CONTROL + "a_pause_with_an_end_ends_by_itself",),
    ),
]
