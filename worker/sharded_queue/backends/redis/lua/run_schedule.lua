#!lua
-- Register the request of a schedule now, beside its occurrences: the next one stays.
--
-- KEYS  base, lock, caller
-- ARGV  call, stamp, tolerance ms: the time by the caller's clock, where it differs by no more from ours; name
-- Returns {sequence, thread, priority} of the request, or {} where no schedule has this name

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local moment = moment_by(table.remove(ARGV, 1), table.remove(ARGV, 1))
check_kinds()
local schedule = schedule_of(ARGV[1])
if not schedule then return store_answer(call, {}) end
local message = encode_moment(moment) .. schedule.message
local thread, priority = thread_in_force(schedule.thread, message), schedule.priority
next_sequence(#message)
local sequence = join(thread, priority, message)
store_joined()
try('HINCRBY', COUNTERS, 'registered', 1)
finish()
return store_answer(call, { sequence, thread, priority })
