#!lua
-- Give a schedule another timing. While the timing is the same, the next occurrence stays.
--
-- KEYS  base, lock, caller
-- ARGV  call, name, next ms ('' to ask for the time), timing
-- Returns {now, next occurrence ms}, {now} when the next occurrence that was given has passed, {} where no schedule has
-- this name

local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local name, following, timing = unpack(ARGV)

check_kinds()
follow_clock()
local schedule = schedule_of(name)
if not schedule then return store_answer(call, {}) end
local is_kept
following, is_kept = occurrence_of(name, schedule, timing, following)
if not following then return store_answer(call, { now }) end
schedule.timing = timing
store_schedule(name, schedule)
if not is_kept then redis.call('ZADD', OCCURRENCES, occurrence_end(timing, following), name) end
woken = woken + 1 -- waiting workers do not know yet when this occurs
finish()
return store_answer(call, { now, tonumber(following) })
