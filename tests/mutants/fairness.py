"""One busy handler or shard starves no other one, and what others have costs nothing."""

from tests.mutants.mutant import SETTLE, Mutant

TURNS, BINDER, LANE = "worker/turns.py", "worker/binder.py", "worker/lane.py"
BY_TURNS, MANY, OUTLOOK = "worker/test_turns.py::test_", "worker/test_many_handlers.py::test_", "test_outlook.py::test_"

MUTANTS = [
    Mutant(
        "a handler has no turn of its own",
        "worker/lane.py",
        "> turn_of(self.handler)",
        "> 30.0",
        ("worker/test_turns.py::test_a_handler_has_a_batch_size_and_a_turn_of_its_own",),
    ),
    Mutant(
        "a handler has no batch size of its own",
        "worker/batch_fit.py",
        "batch_size_of(handler)\n        return",
        "batch_size_of(None)\n        return",
        ("worker/test_turns.py::test_a_handler_has_a_batch_size_and_a_turn_of_its_own",),
    ),
    Mutant(
        "a thread makes way for threads of its own shard only",
        LANE,
        "await self.hold.tell(self.host.must_yield(self.lease))",
        "False",
        (BY_TURNS + "a_handler_with_a_backlog_makes_way_for_another_handler",),
    ),
    Mutant(
        "all threads whose turns are over yield for the one that waits elsewhere",
        TURNS,
        "                self._waiting[other] = count - 1\n",
        "",
        (BY_TURNS + "as_many_threads_yield_as_wait_and_no_more",),
    ),
    Mutant(
        "all threads whose turns are over yield for the one that waits",
        SETTLE,
        "if waiting - own <= lined_up + made_way then return false end",
        "if waiting - own <= 0 then return false end",
        (BY_TURNS + "the_threads_that_yield_for_one_that_waits_are_no_more_than_it",),
    ),
    Mutant(
        "all threads in memory whose turns are over yield for the one that waits",
        "backends/memory/steps/settle.py",
        "    if waiting <= yielded.lined_up + yielded.made_way:\n",
        "    if waiting <= 0:\n",
        (BY_TURNS + "the_threads_that_yield_for_one_that_waits_are_no_more_than_it",),
    ),
    Mutant(
        "the settlement does not hear that threads of other shards wait",
        SETTLE,
        "(release == 3 or others_wait(thread))",
        "others_wait(thread)",
        (BY_TURNS + "a_thread_yields_to_other_shards_where_no_other_of_its_own_waits",),
    ),
    Mutant(
        "a poll begins at the shard that got the last thread",
        BINDER,
        "self._first = self._host.shards().index(shard) + 1",
        "self._first = self._host.shards().index(shard)",
        (BY_TURNS + "a_shard_with_a_backlog_makes_way_for_another_shard",),
    ),
    Mutant(
        "a wake-up polls all shards",
        BINDER,
        "is_call = len(called) == 1 and not self._host.quota.is_limited",
        "is_call = False",
        (MANY + "a_wake_up_polls_its_shard_only",),
    ),
    Mutant(
        "a worker that gets room polls all shards",
        BINDER,
        "if shard in found and found[shard].is_promising]",
        "if shard in found]",
        (MANY + "a_worker_that_gets_room_looks_at_all_handlers_by_one_command",),
    ),
    Mutant(
        "a paused handler makes others yield",
        "backends/redis/lua/outlook.lua",
        "  if is_paused then waiting = 0 end\n",
        "",
        (OUTLOOK + "nothing_of_a_paused_handler_waits",),
    ),
    Mutant(
        "a worker looks though it has one shard only",
        TURNS,
        "if len(shards) > 1 else {}",
        "",
        (BY_TURNS + "a_worker_of_one_shard_does_not_look",),
    ),
    Mutant(
        "each look waits for a node that hangs",
        "worker/lookout.py",
        "if shard not in self._silent or self._silent[shard].till <= now]",
        "]",
        ("test_hung_nodes.py::test_a_look_leaves_out_what_a_hung_node_has_and_waits_for_it_only_once",),
    ),
]
