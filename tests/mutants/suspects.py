"""Requests that a worker died with: one at a time, the last try alone, and nothing waits for them for ever."""

from tests.mutants.mutant import COORDINATOR, PRELUDE, Mutant

SUSPECTS, LOOP, LANE = (f"worker/{name}.py" for name in ("suspects", "loop", "lane"))
SHARD = "backends/memory/shard.py"
TESTS = "worker/test_suspects.py::test_"
BESIDE = COORDINATOR + "deaths_of_workers_that_handled_something_else_too_bury_nobody"
NEXT = COORDINATOR + "what_a_worker_said_of_a_request_does_not_hold_for_the_next_one"
EACH = COORDINATOR + "each_request_of_a_crashed_batch_is_a_suspect_until_it_is_settled"

MUTANTS = [
    Mutant(
        "a death beside others buries",
        PRELUDE,
        "local is_exhausted = held.is_alone and failure",
        "local is_exhausted = held.first == held.last and failure",
        (BESIDE,),
    ),
    Mutant(
        "in memory a death beside others buries",
        SHARD,
        "is_exhausted = held.is_alone and failure",
        "is_exhausted = held.first == held.last and failure",
        (BESIDE,),
    ),
    Mutant(
        "a death alone buries before the limit",
        PRELUDE,
        "local is_exhausted = held.is_alone and failure.crashes >= crash_limit\n",
        "local is_exhausted = held.is_alone\n",
        (COORDINATOR + "a_death_before_the_limit_buries_nobody_even_alone",),
    ),
    Mutant("a worker is alone for its next request too", PRELUDE, "  held.is_alone = false\n", "", (NEXT,)),
    Mutant(
        "in memory a worker is alone for its next request too", SHARD, "        held.is_alone = False\n", "", (NEXT,)
    ),
    Mutant(
        "a cleared suspect clears the others",
        PRELUDE,
        "failure.crashes = math.min(failure.crashes, 1)",
        "failure.crashes = 0",
        (EACH,),
    ),
    Mutant(
        "in memory a cleared suspect clears the others", SHARD, "crashes=min(failure.crashes, 1)", "crashes=0", (EACH,)
    ),
    Mutant(
        "a late word of a worker counts",
        "backends/redis/lua/isolate.lua",
        "if not is_answered(held, call) then",
        "if true then",
        ("test_every_script.py::test_a_command_that_comes_late_changes_nothing[isolate]",),
    ),
    Mutant(
        "suspects are tried at once",
        SUSPECTS,
        "if self._trying and not await self._stand_in_line(lane):",
        "if False and not await self._stand_in_line(lane):",
        (TESTS + "suspects_are_tried_one_at_a_time_beside_innocent_threads",),
    ),
    Mutant(
        "suspects that wait take the room of others",
        LOOP,
        " - self.suspects.waiting",
        "",
        (TESTS + "suspects_are_tried_one_at_a_time_beside_innocent_threads",),
    ),
    Mutant(
        "a last try does not wait for running calls",
        SUSPECTS,
        "await self._quiet(lane)",
        "pass",
        (TESTS + "a_last_try_is_alone",),
    ),
    Mutant(
        "a call begins beside a last try",
        LANE,
        "if (not batch.crashes and not suspects.is_closed) or suspects.is_trying(self):",
        "if not batch.crashes or suspects.is_trying(self):",
        (TESTS + "the_threads_beside_a_last_try_go_to_other_workers",),
    ),
    Mutant(
        "a last try keeps the other threads of its worker",
        SUSPECTS,
        "        if crashes == 0 or self._is_stopped:\n            return 0.0\n",
        "        if crashes == 0:\n            return await self.wait_until_open(lane)\n",
        (TESTS + "the_threads_beside_a_last_try_go_to_other_workers",),
    ),
    Mutant(
        "a last try is for ever alone",
        SUSPECTS,
        "        self._ending = asyncio.create_task(self._end_late(lane, seconds, is_alone=True))\n",
        "",
        (TESTS + "others_wait_for_a_last_try_no_longer_than_a_turn",),
    ),
    Mutant(
        "a try that is no longer alone is still said to be",
        SUSPECTS,
        "await lane.isolate(False)",
        "pass",
        (TESTS + "others_wait_for_a_last_try_no_longer_than_a_turn",),
    ),
    Mutant(
        "others wait for a suspect for ever",
        SUSPECTS,
        "self._ending = asyncio.create_task(self._end_late(lane, settings.worker_turn, is_alone=False))",
        "pass",
        (TESTS + "a_suspect_holds_up_others_no_longer_than_a_turn",),
    ),
    Mutant(
        "a stop does not wait for a last try",
        LANE,
        "await self.host.suspects.wait_until_open(self)",
        "pass",
        (TESTS + "a_stop_of_another_handler_waits_for_a_last_try",),
    ),
    Mutant(
        "those who wait for the end of a last try wake each other",
        SUSPECTS,
        """        self.notice()
        while self.is_closed and self._trying is not lane:
""",
        """        while self.is_closed and self._trying is not lane:
            self.notice()
""",
        (TESTS + "those_who_wait_for_the_end_of_a_last_try_do_not_wake_each_other",),
    ),
    Mutant(
        "an OS thread that nobody awaits counts as no call",
        SUSPECTS,
        "left = set() if is_called else set(os_thread_calls())",
        "left = set()",
        (TESTS + "a_last_try_waits_for_an_os_thread_that_nobody_awaits_any_more",),
    ),
    Mutant(
        "a worker that is told to stop begins another try",
        LOOP,
        "        self._stopping = True\n        self.suspects.stop()\n",
        "        self._stopping = True\n",
        (TESTS + "a_worker_that_is_told_to_stop_begins_no_other_try_while_it_waits_for_redis[redis]",),
    ),
]
