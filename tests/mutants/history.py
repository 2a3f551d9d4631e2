"""What went wrong lately is kept, and not too much of it."""

from tests.mutants.mutant import FAIL, PRELUDE, Mutant

HISTORY = "test_history.py::test_"

MUTANTS = [
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
]
