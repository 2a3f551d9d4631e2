"""
The list of workers: each worker is on it, at no command of its own, and leaves it in time. And the start of a worker.
"""

from tests.mutants.mutant import BIND, PRELUDE, Mutant

WORKERS, START = "test_workers.py::test_", "test_start.py::test_"
COMMAND = "cli/commands/worker.py"

MUTANTS = [
    Mutant(
        "a worker that ended is listed on",
        "worker/loop.py",
        "                await self.coordinator.leave(self.owner, self._introduction.taken_back())\n",
        "",
        (WORKERS + "a_real_worker_is_listed_while_it_runs",),
    ),
    Mutant(
        "a worker that runs again is not listed again",
        "worker/introduction.py",
        "        self._told.clear()\n",
        "",
        (WORKERS + "a_worker_that_runs_again_is_listed_again",),
    ),
    Mutant(
        "a worker that is gone is listed for ever",
        PRELUDE,
        "integer(now - 300000)",
        "0",
        (WORKERS + "a_worker_that_is_gone_is_forgotten",),
    ),
    Mutant(
        "workers that have told nothing for minutes are observed",
        "backends/redis/lua/observe.lua",
        "tonumber(told[i + 1]) < now - TOLD_MS",
        "false",
        (WORKERS + "the_threads_that_workers_can_hold_are_observed_while_they_tell",),
    ),
    Mutant(
        "in memory workers that have told nothing for minutes are observed",
        "backends/memory/steps/observe.py",
        "if at >= now - TOLD_SECONDS * 1000",
        "if at",
        (WORKERS + "the_threads_that_workers_can_hold_are_observed_while_they_tell",),
    ),
    Mutant(
        "a thread is explained without its workers",
        "backends/redis/lua/explain.lua",
        "told.err and {} or told,",
        "{},",
        (WORKERS + "the_last_word_of_a_worker_is_observed_and_explained_until_it_stops",),
    ),
    Mutant(
        "a poll tells nothing of its worker",
        BIND,
        "if ARGV[11] ~= '' then rarely().note_worker(owner, ARGV[11]) end\n",
        "",
        (WORKERS + "a_real_worker_is_listed_while_it_runs",),
    ),
    Mutant(
        "a late renewal lists a worker that is gone",
        "backends/redis/lua/renew.lua",
        "if ARGV[3] ~= '' and #leases > 0 then",
        "if ARGV[3] ~= '' then",
        (WORKERS + "a_renewal_of_lost_leases_tells_nothing",),
    ),
    Mutant(
        "every poll tells of its worker",
        "worker/introduction.py",
        "< INTERVAL_SECONDS:",
        "< 0:",
        (WORKERS + "a_shard_is_told_every_ten_seconds",),
    ),
    Mutant(
        "a worker imports the client of Prometheus before it asks for threads",
        COMMAND,
        'CONTENT_TYPE = "text/plain',
        'import_module("sharded_queue.monitoring.metrics")\nCONTENT_TYPE = "text/plain',
        (START + "nothing_is_imported_that_the_first_threads_do_not_need",),
    ),
    Mutant(
        "a worker looks for what the predecessor left before it asks for threads",
        COMMAND,
        "                    async with hinting(storage, handlers):\n",
        "                    await hint(storage, handlers, looks=1)\n                    if True:\n",
        (START + "a_worker_asks_for_threads_after_two_questions",),
    ),
    Mutant(
        "garbage is never collected",
        "cli/program.py",
        "            gc.enable()\n",
        "",
        (START + "garbage_is_collected_again_once_a_worker_serves",),
    ),
]
