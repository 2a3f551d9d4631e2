#!lua flags=no-writes
-- Workers that told of themselves lately, the latest first. ARGV  how many at most
--
-- Returns {now, "owner version concurrency started tries" and ms of each (flat)}

check_format()
return { now, redis.call('ZREVRANGE', WORKERS, 0, ARGV[1] - 1, 'WITHSCORES') }
