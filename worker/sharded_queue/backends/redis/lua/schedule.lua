#!lua
-- Put a schedule in the place of the one of its name. While its timing is the same, its next occurrence stays.
--
-- KEYS  base, lock, caller
-- ARGV  call, name, next ms ('' to ask for the time), timing, thread, priority, message without its time, layout ("number
--       threads", or '' where it was not routed by key), 1 to leave an occurrence out while the last one waits
-- Returns {now, next occurrence ms}, {now} when the next occurrence that was given has passed

local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local name, following, timing, thread, priority, message, placed_by, skips = unpack(ARGV)

check_kinds()
follow_clock()
local known = schedule_of(name)
local is_kept
following, is_kept = occurrence_of(name, known, timing, following)
if not following then return store_answer(call, { now }) end
next_sequence(#message + 13)
if placed_by ~= '' then redis.call('SET', LAYOUT, placed_by .. ' 0', 'NX') end
store_schedule(name, { timing = timing, thread = thread, priority = priority, message = message })
if skips ~= '1' then
  redis.call('HDEL', SKIPPING, name)
elseif not redis.call('HGET', SKIPPING, name) then
  redis.call('HSET', SKIPPING, name, '')
end
if not is_kept then redis.call('ZADD', OCCURRENCES, occurrence_end(timing, following), name) end
woken = woken + 1 -- waiting workers do not know yet when this occurs
finish()
return store_answer(call, { now, tonumber(following) })
