"""What is around registrations, handlers and workers takes nothing of their promises away."""

from tests.mutants.mutant import LIFESPAN, MIDDLEWARE, Mutant

AROUND, GUARD, LOOP = "queue/middleware.py", "worker/lifespan.py", "worker/loop.py"

MUTANTS = [
    Mutant(
        "a middleware that forgets the handler settles the batch",
        AROUND,
        '            raise self._mistake("returned without',
        '            return None\n            raise self._mistake("returned without',
        (MIDDLEWARE + "a_fault_in_a_middleware_is_a_failed_try_that_loses_nothing",),
    ),
    Mutant(
        "a middleware that swallows an error settles the batch",
        AROUND,
        "        if self._error is not None:\n            raise self._error\n",
        "        if self._error is not None:\n            return None\n",
        (
            MIDDLEWARE + "an_error_that_a_middleware_swallows_still_fails_the_batch",
            MIDDLEWARE + "a_middleware_that_swallows_a_cancellation_does_not_settle_an_aborted_batch",
        ),
    ),
    Mutant(
        "a middleware may call the handler twice",
        AROUND,
        "        if self._is_called:\n",
        "        if False:\n",
        (MIDDLEWARE + "call_next_works_once",),
    ),
    Mutant(
        "a handler may outlive its middleware in another task",
        AROUND,
        "if asyncio.current_task() is not self._task:",
        "if False:",
        (MIDDLEWARE + "a_handler_cannot_outlive_the_middleware_around_it",),
    ),
    Mutant(
        "the last middleware is the outermost",
        AROUND,
        "    return [each for each in middleware if",
        "    return [each for each in reversed(middleware) if",
        (MIDDLEWARE + "middleware_is_nested_in_the_order_of_its_list",),
    ),
    Mutant(
        "a lifespan ends before the last stop",
        LOOP,
        "                await self._loop(limit)\n",
        "                pass\n        await self._loop(limit)\n",
        (LIFESPAN + "it_ends_after_the_last_stop_of_a_worker_that_ends",),
    ),
    Mutant(
        "threads are bound without their lifespan",
        GUARD,
        '            raise ShardedQueueError(f"the lifespan {self._name} cannot begin:',
        '            return True\n            raise ShardedQueueError(f"the lifespan {self._name} cannot begin:',
        (LIFESPAN + "nothing_is_bound_when_it_cannot_begin",),
    ),
    Mutant(
        "a stopping worker waits for its lifespan to begin",
        LOOP,
        "        self._lifespan.give_up_entering()\n",
        "",
        (LIFESPAN + "a_worker_that_is_stopped_does_not_wait_for_it_to_begin",),
    ),
    Mutant(
        "a lifespan hides the error of its worker",
        GUARD,
        "            await manager.__aexit__(kind, error, trace)\n",
        "            return await manager.__aexit__(kind, error, trace)\n",
        (LIFESPAN + "it_does_not_hide_the_error_of_its_worker",),
    ),
]
