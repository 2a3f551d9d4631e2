#!lua flags=allow-oom
-- Remove a schedule. ARGV  name. Returns 1 if there was one.

check_format()
sound()
redis.call('ZREM', OCCURRENCES, ARGV[1])
redis.call('HDEL', QUARANTINE, 'schedule ' .. ARGV[1])
return redis.call('HDEL', SCHEDULES, ARGV[1])
