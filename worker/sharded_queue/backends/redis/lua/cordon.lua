#!lua flags=allow-oom
-- Give workers no new threads for a while: they are about to be stopped. They keep the threads that they hold.
--
-- KEYS  base, lock, caller
-- ARGV  call, ms, then names of workers (what stands before the / of an owner)

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
redis.call('ZREMRANGEBYSCORE', CORDONED, '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', CORDONED, now + tonumber(ARGV[1]), ARGV[i]) end
return store_answer(call, 1)
