"""Binding ahead: within what others leave, never beyond the slots, and given back where it takes too long."""

from tests.mutants.mutant import BIND, COORDINATOR, SERVING, Mutant

SLOTS, LOOP, LANE = (f"worker/{name}.py" for name in ("slots", "loop", "lane"))
AHEAD, CORDON = "worker/test_ahead.py::test_", "worker/test_cordon.py::test_a_"
UNIT = "../unit/sharded_queue/test_slots.py::test_"

MUTANTS = [
    Mutant(
        "a worker that binds ahead leaves nothing to others",
        BIND,
        "math.floor(left / 2)",
        "left",
        (COORDINATOR + "as_many_threads_are_left_to_others_as_are_bound_ahead",),
    ),
    Mutant(
        "a worker in memory that binds ahead leaves nothing to others",
        "backends/memory/steps/bind.py",
        "max(0, len(shard.ready) - threads) // 2",
        "max(0, len(shard.ready) - threads)",
        (COORDINATOR + "as_many_threads_are_left_to_others_as_are_bound_ahead",),
    ),
    Mutant(
        "a cordoned worker binds ahead",
        BIND,
        "threads, ahead = 0, 0 end",
        "threads = 0 end",
        (COORDINATOR + "a_cordoned_worker_binds_nothing_ahead",),
    ),
    Mutant(
        "a cordoned worker keeps a thread that has more requests",
        LOOP,
        "return self._stopping or self._draining or self._binder.is_cordoned",
        "return self._stopping or self._draining",
        (CORDON + "busy_thread_is_handed_over_after_its_batch",),
    ),
    Mutant(
        "a full worker does not hear of its cordon",
        "worker/binder.py",
        "must_ask = self.is_cordoned or (is_due and self._room_in_all() <= 0)",
        "must_ask = self.is_cordoned",
        (CORDON + "busy_thread_is_handed_over_after_its_batch",),
    ),
    Mutant(
        "a thread that is bound ahead does not wait for a slot",
        SLOTS,
        "if self._taken >= settings.worker_concurrency:",
        "if self._taken < 0:",
        (AHEAD + "threads_bound_ahead_wait_for_a_slot",),
    ),
    Mutant(
        "a slow handler keeps what was bound ahead",
        SLOTS,
        "            if place.since <= latest:\n",
        "            if latest == inf:\n",
        (AHEAD + "a_slow_handler_leaves_threads_bound_ahead_to_others",),
    ),
    Mutant(
        "a stopping worker keeps what it bound ahead",
        LOOP,
        "        self.slots.close()\n",
        "",
        (AHEAD + "a_stopping_worker_gives_back_at_once_what_it_bound_ahead",),
    ),
    Mutant(
        "a lane that is late waits in the line of a stopping worker",
        SLOTS,
        "        if self._is_closed:\n            return False\n",
        "",
        (UNIT + "all_are_sent_away_at_once_and_nobody_joins_the_line",),
    ),
    Mutant(
        "a lane keeps its slot after its end",
        LANE,
        "            finally:\n                self._leave_slot()\n",
        "            finally:\n",
        (AHEAD + "threads_bound_ahead_open_nothing_before_their_slot",),
    ),
    Mutant(
        "a thread that drains lingers though others came to wait",
        LANE,
        "        self._bell.is_rung |= self.host.is_leaving()  # others may have come to wait since it was settled\n",
        "",
        (SERVING + "a_thread_that_drains_does_not_linger_where_others_came_to_wait",),
    ),
    Mutant(
        "a lane that has ended waits for the garbage collector",
        LANE,
        "                self._fiber = None  # it",
        "                pass  # it",
        (SERVING + "threads_that_end_leave_nothing_to_the_garbage_collector",),
    ),
    Mutant(
        "a task keeps what its fiber was told",
        "worker/task_pool.py",
        "                value = None  # an error",
        "                pass  # an error",
        (SERVING + "threads_that_waited_in_vain_leave_nothing_either",),
    ),
    Mutant(
        "a slot is lost with a lane that is cancelled",
        SLOTS,
        "            if place.is_granted:\n                self.leave()\n",
        "",
        (UNIT + "a_lane_that_is_cancelled_with_the_slot_in_hand_passes_it_on",),
    ),
    Mutant(
        "a lane that was cancelled stays in line",
        SLOTS,
        "            self._line.pop(fiber, None)\n",
        "",
        (UNIT + "a_cancelled_lane_leaves_the_line",),
    ),
    Mutant(
        "a handler that opens something leaves its slot before it closes it",
        LANE,
        " and not self.handler.has_lifecycle:\n            self._leave_slot()",
        ":\n            self._leave_slot()",
        (AHEAD + "threads_bound_ahead_open_nothing_before_their_slot",),
    ),
    Mutant(
        "a worker settles one thread after the other",
        LANE,
        "            self._leave_slot()  # the next",
        "            pass  # the next",
        (AHEAD + "the_next_thread_begins_while_the_last_one_is_settled",),
    ),
    Mutant(
        "ordinary functions wait for an OS thread",
        "handler.py",
        "ThreadPoolExecutor(MOST_OS_THREADS, ",
        "ThreadPoolExecutor(1, ",
        (SERVING + "an_ordinary_function_has_an_os_thread_for_each_thread",),
    ),
    Mutant(
        "a worker binds ahead under a limit",
        "worker/binder.py",
        "if self._host.quota.is_limited or self._is_leaving_shards():",
        "if self._is_leaving_shards():",
        (AHEAD + "nothing_is_bound_ahead_under_a_limit",),
    ),
    Mutant(
        "a worker of slow requests binds ahead",
        SLOTS,
        "self._granted * AHEAD_SECONDS / elapsed",
        "self._granted",
        (UNIT + "requests_of_seconds_have_nothing_bound_ahead",),
    ),
]
