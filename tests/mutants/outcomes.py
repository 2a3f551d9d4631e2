"""What a handler says of a request: given up, snoozing, or decided by its error."""

from tests.mutants.mutant import FAIL, Mutant

SNOOZE, OUTCOMES = "test_snooze.py::test_", "worker/test_outcomes.py::test_"
FAILURES, FAILING, IN_MEMORY = "worker/failures.py", "worker/failing.py", "backends/memory/steps/fail.py"

MUTANTS = [
    Mutant(
        "a request that is given up is tried again",
        FAILURES,
        "    if isinstance(cause, GiveUp | Snooze):\n",
        "    if isinstance(cause, Snooze):\n",
        (OUTCOMES + "a_request_that_is_given_up_is_a_dead_letter_at_once",),
    ),
    Mutant(
        "types to give up on are tried again",
        FAILURES,
        "return GiveUp() if isinstance(verdict, Retry) and isinstance(cause, verdict.give_up_on) else verdict",
        "return verdict",
        (OUTCOMES + "an_error_of_a_type_to_give_up_on_is_not_tried_again",),
    ),
    Mutant(
        "every error is given up",
        FAILURES,
        "isinstance(cause, verdict.give_up_on) else",
        "verdict.give_up_on else",
        (OUTCOMES + "other_errors_are_tried_again",),
    ),
    Mutant(
        "an error in a group of one is a group",
        "outcomes.py",
        "len(error.exceptions) == 1",
        "len(error.exceptions) == 0",
        (OUTCOMES + "an_error_in_a_group_of_one_is_what_it_is",),
    ),
    Mutant(
        "a handler that fails to decide ends its try uncounted",
        FAILURES,
        "        said: object = handler.on_error(error, attempt)\n    except Exception:",
        "        said: object = handler.on_error(error, attempt)\n    except KeyError:",
        (OUTCOMES + "a_handler_that_cannot_decide_leaves_it_to_its_policy",),
    ),
    Mutant(
        "the back-off of an error is that of the policy",
        FAILING,
        "if attempt >= verdict.limit:",
        "if attempt >= policy_of(self._handler).limit:",
        (OUTCOMES + "a_handler_decides_how_often_an_error_is_tried",),
    ),
    Mutant(
        "a call of several requests that snoozes is taken apart as a failure",
        "worker/lane.py",
        "if isinstance(cause := cause_of(error), Snooze):",
        "if isinstance(cause := cause_of(error), SystemExit):",
        (OUTCOMES + "a_thread_that_snoozes_leaves_its_slot_to_others",),
    ),
    Mutant(
        "a snooze is logged as a failure",
        "worker/calls.py",
        "failure is not None and not isinstance(cause_of(failure), Snooze):",
        "failure is not None:",
        (OUTCOMES + "a_snooze_is_not_logged_as_an_error",),
    ),
    Mutant(
        "a snooze is a try",
        FAILURES,
        "attempt = printable(snooze, DESCRIBED_CHARACTERS), batch.attempt - 1",
        "attempt = printable(snooze, DESCRIBED_CHARACTERS), batch.attempt",
        (OUTCOMES + "a_request_that_snoozes_keeps_its_place_and_its_try",),
    ),
    Mutant(
        "a snooze is in the history of failures",
        FAIL,
        "if not snoozes then note_failed",
        "if true then note_failed",
        (SNOOZE + "a_snooze_is_no_try_and_no_failure",),
    ),
    Mutant(
        "requests of a call that snoozed come together",
        FAIL,
        "    failure.last = math.max(failure.last, math.min(last, held.last))\n",
        "",
        (SNOOZE + "the_requests_of_a_call_that_snoozed_come_one_by_one_afterwards",),
    ),
    Mutant(
        "in memory requests of a call that snoozed come together",
        IN_MEMORY,
        "max(record.last, min(failure.last, held.last)), f",
        "record.last, f",
        (SNOOZE + "the_requests_of_a_call_that_snoozed_come_one_by_one_afterwards",),
    ),
    Mutant(
        "a request may snooze once too often",
        FAIL,
        "snoozes > most_snoozes then",
        "snoozes > most_snoozes + 1 then",
        (SNOOZE + "a_request_that_snoozed_too_often_is_a_dead_letter_and_its_thread_goes_on",),
    ),
    Mutant(
        "in memory a request may snooze once too often",
        IN_MEMORY,
        '(snoozes := _times("snoozed", record)) > most:',
        '(snoozes := _times("snoozed", record)) > most + 1:',
        (SNOOZE + "a_request_that_snoozed_too_often_is_a_dead_letter_and_its_thread_goes_on",),
    ),
    Mutant(
        "the thread of a request that snoozed too often is lost",
        FAIL,
        "  let_go(thread)\n  make_ready(thread, tubes)\n",
        "  let_go(thread)\n",
        (SNOOZE + "a_request_that_snoozed_too_often_is_a_dead_letter_and_its_thread_goes_on",),
    ),
    Mutant(
        "snoozes of a request count for the next one",
        FAIL,
        "failure and failure.sequence == sequence and failure.reason or ''",
        "failure and failure.reason or 'snoozed (7): '",
        (SNOOZE + "snoozes_in_a_row_are_counted_until_the_request_is_settled",),
    ),
    Mutant(
        "a request that snoozed is called failing",
        "backends/redis/lua/observe.lua",
        "failure.reason ~= '' and not string.match(failure.reason, '^snoozed %('))",
        "failure.reason ~= '')",
        (SNOOZE + "a_request_that_comes_again_after_a_snooze_is_not_called_failing",),
    ),
    Mutant(
        "in memory a request that snoozed is called failing",
        "backends/memory/shard.py",
        "failure.error and not failure.error.startswith(SNOOZED)",
        "failure.error",
        (SNOOZE + "a_request_that_comes_again_after_a_snooze_is_not_called_failing",),
    ),
    Mutant(
        "a sandbox does not wait for a snooze",
        "testing.py",
        "        if not any(error.startswith(SNOOZED) for error in said):\n            yield end",
        "        if said is not None:\n            yield end",
        ("../unit/sharded_queue/test_testing.py::test_a_request_that_snoozes_waits_for_time_to_pass",),
    ),
]
