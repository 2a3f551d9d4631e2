"""What comes late changes nothing, and what is sent again gets the answer of the first."""

from tests.mutants.mutant import BIND, EVERY_SCRIPT, FAIL, LATE, LIMITS, PRELUDE, REDIS, REGISTER, SETTLE, Mutant

MUTANTS = [
    # What comes late changes nothing, and what is sent again gets the first answer.
    Mutant(
        "a late settlement hands out anew",
        SETTLE,
        "if was_settled or is_answered(held, call) then",
        "if is_answered(held, call) then",
        (LATE + "a_late_settlement_does_not_end_the_turn_of_the_next_batch",),
    ),
    Mutant(
        "in memory a late settlement hands out anew",
        "backends/memory/steps/settle.py",
        "if was_settled or held.is_answered(call):",
        "if held.is_answered(call):",
        (LATE + "a_late_settlement_leaves_the_next_batch_in_hand_though_an_urgent_request_came",),
    ),
    Mutant(
        "the number of a call does not count",
        PRELUDE,
        "return call ~= '' and tonumber(call) <= tonumber(held.call)",
        "return false",
        (LATE + "a_late_call_for_more_releases_nothing_and_hands_out_nothing",),
    ),
    Mutant(
        "in memory the number of a call does not count",
        "backends/memory/shard.py",
        "return call is not None and call <= self.call",
        "return False",
        (LATE + "a_call_that_is_sent_again_gets_the_same_batch_though_an_urgent_request_came",),
    ),
    Mutant(
        "a late burial takes the next batch from its holder",
        FAIL,
        "if was_dealt_with or is_answered(held, call) then return 1 end\n"
        "local i = place_at_head()\nif not i then return 0 end\n",
        "local i = place_at_head()\n",
        (LATE + "a_late_burial_leaves_the_next_batch_in_hand",),
    ),
    Mutant(
        "in memory a late burial is a lost lease",
        "backends/memory/steps/fail.py",
        "if tube is None or tube.head > sequence or held.is_answered(call):",
        "if held.is_answered(call):",
        (LATE + "a_late_burial_leaves_the_next_batch_in_hand",),
    ),
    Mutant(
        "a release sent again is a loss where the thread is bound anew",
        SETTLE,
        "and (was_settled or not through)",
        "and not held",
        (LATE + "a_release_whose_answer_was_lost_is_no_loss_though_another_worker_has_the_thread",),
    ),
    Mutant(
        "a put off sent again is a loss where the thread is bound anew",
        FAIL,
        "return again and (delay >= 0 or stops) and (was_dealt_with or is_noted)",
        "return again and delay >= 0 and not held_of(thread)",
        (LATE + "a_put_off_whose_answer_was_lost_is_no_loss_though_another_worker_has_the_thread",),
    ),
    Mutant(
        "a lane does not number its calls",
        "worker/hold.py",
        "        self.last_call += 1\n        return self.last_call\n",
        "        return 1\n",
        (LIMITS + "a_limit_is_met_exactly",),
    ),
    Mutant(
        "an end of a lane is followed by other states",
        "worker/hold.py",
        "        if not self.state.is_held:\n            return\n        assert",
        "        assert",
        ("worker/test_lane_states.py::test_a_handler_that_heeds_no_cancellation_is_settled_where_its_fence_holds",),
    ),
    Mutant(
        "a registration sent again is carried out again",
        REGISTER,
        "if earlier ~= nil then\n",
        "if false then\n",
        (REDIS + "a_registration_whose_answer_was_lost_is_carried_out_once",),
    ),
    Mutant(
        "a late registration is carried out again",
        PRELUDE,
        "tonumber(last) < number then",
        "tonumber(last) ~= number then",
        (REDIS + "a_registration_that_comes_late_changes_nothing",),
    ),
    Mutant(
        "a bind sent again forgets what it bound",
        BIND,
        "if before > heard then rarely().take_back(bound_before, owner, known) end",
        "",
        (LATE + "a_bind_after_one_without_an_answer_has_the_threads_of_that",),
    ),
    Mutant(
        "a bind sent again binds anew",
        BIND,
        "if before == call then",
        "if false then",
        (LATE + "a_late_bind_takes_no_thread_from_its_own_worker_before_the_next_call",),
    ),
    *[
        Mutant(
            f"a late or repeated {script} is carried out",
            f"backends/redis/lua/{script}.lua",
            "if earlier ~= nil then return earlier end\n",
            "",
            (EVERY_SCRIPT.format(deed),),
        )
        for script, deed in {
            "settle_dead": "settle_dead to the head of a held thread",
            "cordon": "cordon",
            "evict": "evict",
            "pause": "pause",
            "repair": "repair",
            "reshard": "reshard",
            "schedule": "schedule",
            "unschedule": "unschedule",
        }.items()
    ],
    Mutant(
        "a refused registration that comes late is carried out",
        REGISTER,
        "return store_answer(call, { now, 'full', depth, thread, priority })",
        "return { now, 'full', depth, thread, priority }",
        (EVERY_SCRIPT.format("register what has no room"),),
    ),
    Mutant(
        "a call that has no answer kept is answered",
        PRELUDE,
        "return tonumber(last) == number and is_readable and earlier",
        "return false",
        ("test_every_script.py::test_a_command_that_is_sent_again_has_the_answer_of_the_first[pause]",),
    ),
    Mutant(
        "a late bind binds",
        BIND,
        "if before > call then",
        "if false then",
        (LATE + "a_late_bind_binds_nothing",),
    ),
]
