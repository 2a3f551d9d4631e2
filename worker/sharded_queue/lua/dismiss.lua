#!lua flags=allow-oom
-- Give these workers no new threads for a while: they are about to be stopped. What they hold they keep.
--
-- ARGV  ms, then names of workers (what stands before the / of an owner)

check_format()
redis.call('ZREMRANGEBYSCORE', DISMISSED, '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', DISMISSED, now + tonumber(ARGV[1]), ARGV[i]) end
return 1
