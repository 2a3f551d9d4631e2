#!lua flags=no-writes
-- The first messages of a list of the predecessor. KEYS  list, progress; ARGV  name of the list, count
--
-- Returns {how many were moved from it before, messages}

return { tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0), redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1) }
