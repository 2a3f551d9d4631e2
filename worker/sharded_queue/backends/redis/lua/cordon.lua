#!lua flags=allow-oom
-- Give these workers no new threads for a while: they are about to be stopped. What they hold they keep.
--
-- KEYS  base, lock, caller
-- ARGV  call, ms, then names of workers (what stands before the / of an owner)

check_format()
local call = tonumber(table.remove(ARGV, 1))
local said = kept_answer(call)
if said ~= nil then return said end
redis.call('ZREMRANGEBYSCORE', DISMISSED, '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', DISMISSED, now + tonumber(ARGV[1]), ARGV[i]) end
return keep_answer(call, 1)
