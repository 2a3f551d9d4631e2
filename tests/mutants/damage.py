"""Damaged data harm nothing that is sound, and a repair mends what it can."""

from tests.mutants.mutant import BIND, CONTROL, FORMAT, KEYS, PRELUDE, RECORDS, REGISTER, SETTLE, Mutant

MUTANTS = [
    # Garbage in a key.
    Mutant(
        "a record of tubes that cannot be read counts as none",
        PRELUDE,
        "tail > 2 ^ 52 then return nil end\n",
        "tail > 2 ^ 52 then return {} end\n",
        (RECORDS + "a_thread_that_cannot_be_read_is_in_quarantine_and_says_so",),
    ),
    Mutant(
        "a thread in quarantine is reported nowhere",
        PRELUDE,
        "  redis.call('HSET', QUARANTINE, 'thread ' .. thread, reason)\n",
        "",
        (RECORDS + "a_thread_that_cannot_be_read_is_in_quarantine_and_says_so",),
    ),
    Mutant(
        "a thread whose name is no text is given to workers",
        BIND,
        "if tubes and (are_texts or is_text(thread)) then",
        "if tubes then",
        (RECORDS + "what_cannot_be_read_harms_nothing_else",),
    ),
    Mutant(
        "a failure that cannot be read is one",
        PRELUDE,
        "is_integer(sequence) and is_integer(last) and is_integer(attempts) and is_integer(crashes)) then",
        "true) then",
        (RECORDS + "what_cannot_be_read_harms_nothing_else",),
    ),
    Mutant(
        "a delayed request that is nowhere ends the look",
        PRELUDE,
        "read_delayed(text or '')",
        "read_delayed(text)",
        (RECORDS + "what_cannot_be_read_harms_nothing_else",),
    ),
    Mutant(
        "a list of another kind ends the script",
        PRELUDE,
        "local length = try('LLEN', list)",
        "local length = redis.call('LLEN', list)",
        (RECORDS + "what_cannot_be_read_harms_nothing_else",),
    ),
    Mutant(
        "requests for what is no list are lost",
        PRELUDE,
        "if not length then return rarely().put_off(thread, priority, start, source, first, last, now) end",
        "if not length then return start end",
        (RECORDS + "a_request_for_what_is_no_list_waits_for_a_worker",),
    ),
    Mutant(
        "requests that the record has lost are passed",
        PRELUDE,
        "local unknown = math.max(0, length - count - (tube.tail - tube.head))",
        "local unknown = 0",
        (RECORDS + "requests_that_the_record_has_lost_stay_before_those_that_come",),
    ),
    Mutant(
        "a held thread that is called ready is bound again",
        BIND,
        "  if hold and read_hold(hold) and redis.call('ZSCORE', LEASES, thread) then return nil end\n",
        "",
        (RECORDS + "a_held_thread_that_is_called_ready_is_not_bound_twice",),
    ),
    Mutant(
        "keys of another kind are met after the first write",
        PRELUDE,
        "    for _, key in ipairs(keys) do redis.call(size_of(kind, key)) end\n",
        "",
        (KEYS + "a_key_of_another_kind_is_refused_by_name_before_anything_is_written",),
    ),
    Mutant(
        "a registration meets keys of another kind after its first write",
        REGISTER,
        "  for _, key in ipairs({ READY, OLDEST, DEEP }) do redis.call('ZCARD', key) end\n",
        "",
        (KEYS + "a_key_of_another_kind_is_refused_by_name_before_anything_is_written",),
    ),
    Mutant(
        "a registration of more meets keys of another kind after its first write",
        REGISTER,
        "return redis.call('ZCARD', DEEP) end",
        "return nil end",
        (KEYS + "a_key_of_another_kind_is_refused_by_name_before_anything_is_written",),
    ),
    Mutant(
        "a settlement meets keys of another kind after its first write",
        SETTLE,
        "  if release == 2 or release > 0 and wanted == 0 then check_way_back() end\n",
        "",
        (KEYS + "a_settlement_that_gives_a_thread_back_needs_the_keys_for_it",),
    ),
    Mutant(
        "a layout that cannot be read counts as none",
        PRELUDE,
        "    if not text then\n      layout = false\n",
        "    layout = false\n    if not text then\n      layout = false\n",
        (KEYS + "without_the_layout_nothing_is_placed_by_it",),
    ),
    Mutant(
        "garbage in one shard hides the others",
        "storage.py",
        "        if len(shards) == 1:\n            return [], [error]\n",
        "        return [], [error]\n",
        (KEYS + "metrics_tell_what_cannot_be_read_and_go_on",),
    ),
    Mutant(
        "a repair leaves keys of another kind",
        "backends/redis/lua/repair.lua",
        "      if key ~= LAYOUT then remove_other_kind(string.match(key, ':(%a+)$'), key, kind) end\n",
        "",
        (KEYS + "a_key_of_another_kind_is_made_anew",),
    ),
    Mutant(
        "a repair does not look for the lists of a record that cannot be read",
        "backends/redis/snapshot.py",
        "        if THREAD_RECORD.fullmatch(record):\n",
        "        if record:\n",
        (RECORDS + "what_cannot_be_read_harms_nothing_else",),
    ),
    # A repair.
    Mutant(
        "a repair takes a lease that is sound",
        "backends/redis/lua/repair.lua",
        "if held.last < held.first then return true end",
        "if held.last < held.first then return false end",
        ("test_repair.py::test_a_repair_of_what_is_true_writes_nothing",),
    ),
    Mutant(
        "a repair leaves other requests in a holder's hands",
        "backends/redis/lua/repair.lua",
        " and not tube.is_cut",
        "",
        ("test_repair.py::test_what_was_broken_is_put_right",),
    ),
    Mutant(
        "an eviction counts as a crash",
        "backends/redis/lua/evict.lua",
        "    let_go(thread)\n    make_ready(thread, tubes_of(thread))\n",
        "    expire(thread, 1)\n",
        (CONTROL + "an_eviction_is_no_crash_of_what_the_worker_held",),
    ),
    # Data of another format are left alone.
    Mutant(
        "nobody looks at the format",
        PRELUDE,
        "  if number then error",
        "  if false then error",
        (FORMAT + "data_of_another_format_are_left_alone[bind]",),
    ),
    # What an earlier release stored in the same format is read.
    Mutant(
        "a release writes a layout in another way, and forgets the old one",
        PRELUDE,
        "'^(%d+) (%d+) (%d+)$')",
        "'^(%d+)/(%d+)/(%d+)$')",
        ("test_stored_data.py::test_what_a_release_stored_is_finished_in_order",),
    ),
]
