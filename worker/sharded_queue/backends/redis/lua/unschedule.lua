#!lua flags=allow-oom
-- Remove a schedule. Returns 1 if there was one.
--
-- KEYS  base, lock, caller
-- ARGV  call, name

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
check_kinds()
redis.call('ZREM', OCCURRENCES, ARGV[1])
redis.call('HDEL', SKIPPING, ARGV[1])
redis.call('HDEL', QUARANTINE, 'schedule ' .. ARGV[1])
return store_answer(call, redis.call('HDEL', SCHEDULES, ARGV[1]))
