"""The list of workers: each worker is on it, at no command of its own, and leaves it in time."""

from tests.mutants.mutant import BIND, PRELUDE, Mutant

WORKERS = "test_workers.py::test_"

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
        "a poll tells nothing of its worker",
        BIND,
        "if ARGV[11] ~= '' then rarely().note_worker(owner, ARGV[11]) end\n",
        "",
        (WORKERS + "a_real_worker_is_listed",),
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
]
