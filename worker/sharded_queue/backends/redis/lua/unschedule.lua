#!lua flags=allow-oom
-- Remove a schedule. Returns 1 if there was one.
--
-- KEYS  base, lock, caller
-- ARGV  call, name

check_format()
local call = tonumber(table.remove(ARGV, 1))
local said = kept_answer(call)
if said ~= nil then return said end
sound()
redis.call('ZREM', OCCURRENCES, ARGV[1])
redis.call('HDEL', QUARANTINE, 'schedule ' .. ARGV[1])
return keep_answer(call, redis.call('HDEL', SCHEDULES, ARGV[1]))
