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
        "  note_failed(thread, priority, sequence, attempt, reason, ARGV[11])\n",
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
        "backends/redis/lua/pause.lua",
        "elseif not pausing or changed == 1 then\n  redis.call('HDEL', PAUSES, thread)\n",
        "",
        (CONTROL + "who_paused_a_thread_and_why_is_kept_until_it_is_resumed",),
    ),
    Mutant(
        "a pause without a word takes the reason of the one before",
        "backends/redis/lua/pause.lua",
        "elseif not pausing or changed == 1 then\n",
        "else\n",
        (CONTROL + "who_paused_a_thread_and_why_is_kept_until_it_is_resumed",),
    ),
    Mutant(
        "nobody says who paused the handler of a thread",
        "backends/redis/lua/explain.lua",
        "redis.call('HGET', PAUSES, thread) or all_paused == 1 and redis.call('HGET', PAUSES, '') or ''",
        "redis.call('HGET', PAUSES, thread) or ''",
        (CONTROL + "who_paused_a_handler_is_known_of_each_of_its_threads",),
    ),
]
