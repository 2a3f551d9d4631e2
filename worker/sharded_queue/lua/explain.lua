#!lua flags=no-writes
-- Everything that decides whether a thread moves. ARGV  thread
-- Returns {now, handler paused (0 or 1), held record or '', lease ends at or '', blocked until or '', threads before it
--          or -1, per tube: {priority, head, depth, stamp, trouble or ''}, 1 if it is parked or 0, old threads it waits for}

local thread = ARGV[1]
local residue = redis.call('ZSCORE', PARKED, thread)
local tubes = {}
for i, tube in ipairs(tubes_of(thread)) do
  local member = thread .. '/' .. tube.priority
  tubes[i] = { tube.priority, tube.head, tube.tail - tube.head, redis.call('ZSCORE', OLDEST, member) or whole(now),
               redis.call('HGET', TROUBLE, member) or '' }
end
return { now, redis.call('HEXISTS', COUNTERS, 'paused'), redis.call('HGET', HELD, thread) or '',
         redis.call('ZSCORE', LEASES, thread) or '', redis.call('ZSCORE', BLOCKED, thread) or '',
         redis.call('ZRANK', READY, thread) or -1, tubes, residue and 1 or 0,
         residue and redis.call('ZRANGEBYSCORE', OLD, residue, residue, 'LIMIT', 0, 100) or {} }
