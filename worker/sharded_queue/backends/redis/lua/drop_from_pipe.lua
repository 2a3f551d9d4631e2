#!lua flags=allow-oom
-- Drop messages from the head of a list of the predecessor once they are registered with us.
--
-- KEYS  list, progress; ARGV  name of the list, how many were moved before, how many now, the first and the last of them
-- Returns 1, or 0 when the list was changed by others meanwhile. Sent again, it gives the same answer.

local moved, count = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0), tonumber(ARGV[3])
if moved == tonumber(ARGV[2]) + count then return 1 end
local first, last = redis.call('LINDEX', KEYS[1], 0), redis.call('LINDEX', KEYS[1], count - 1)
if moved ~= tonumber(ARGV[2]) or first ~= ARGV[4] or last ~= ARGV[5] then return 0 end
redis.call('LTRIM', KEYS[1], count, -1)
redis.call('HINCRBY', KEYS[2], ARGV[1], count)
return 1
