#!lua flags=no-writes
-- Everything that decides whether a thread moves. ARGV  thread
-- Returns {now, handler paused (0 or 1), held record or '', lease ends at or '', blocked until or '' ('inf' in a pause
--          or a quarantine), threads before it or -1, per tube: {priority, head, depth, stamp, failure or ''}, 1 if it
--          is parked or 0, old threads it waits for, threads that workers hold, when a worker last asked for threads or
--          '', why it cannot be read or '', its last failures or '', what its holder reported of the batch or '', which
--          act has paused it or '', workers that told of themselves, the latest first (flat: record, ms), who paused it, or
--          its handler, or '', for which request without
--          tries it stands still: {thread, 'priority ms', failure} or ''}

check_format()
local thread = ARGV[1]
local residue, till = redis.call('ZSCORE', PARKED, thread), redis.call('ZSCORE', BLOCKED, thread)
local hold, known, tubes = redis.call('HGET', HELD, thread), tubes_of(thread), {}
local told = redis.pcall('ZREVRANGE', WORKERS, 0, 99, 'WITHSCORES')
local flaw = redis.call('HGET', QUARANTINE, 'thread ' .. thread) or not known and UNREADABLE or ''
for i, tube in ipairs(known or {}) do
  local member = thread .. '/' .. tube.priority
  tubes[i] = { tube.priority, tube.head, tube.tail - tube.head, redis.call('ZSCORE', OLDEST, member) or integer(now),
               failure_of(thread, tube.priority) and redis.call('HGET', FAILURES, member) or '' }
end
-- A pause whose end has come is over, though no worker has polled since.
local function is_over(name)
  local ends = redis.call('ZSCORE', RESUMES, name)
  return ends and tonumber(ends) <= now
end

local function exhausted()
  local record = redis.call('HGET', EXHAUSTED, thread)
  local priority = read_stop(record)
  return priority and { thread, record, redis.call('HGET', FAILURES, thread .. '/' .. priority) or '' } or ''
end

local all_paused = redis.call('HEXISTS', COUNTERS, 'paused') == 1 and not is_over('') and 1 or 0
local act = redis.call('HGET', ACTS, thread) or ''
if till == STOPPED then till = false end
if is_withheld(till) then till = act == '' and is_over(thread) and '' or PAUSED end
return { now, all_paused, read_hold(hold) and hold or '',
         redis.call('ZSCORE', LEASES, thread) or '', till or '',
         redis.call('ZRANK', READY, thread) or -1, tubes, residue and 1 or 0,
         residue and redis.call('ZRANGEBYSCORE', OLD, residue, residue, 'LIMIT', 0, 100) or {},
         redis.call('ZCOUNT', LEASES, '(' .. integer(now), '+inf'), redis.call('HGET', COUNTERS, 'polled') or '', flaw,
         redis.call('HGET', HISTORY, thread) or '', progress_of(thread, read_hold(hold)),
         act, told.err and {} or told,
         till == PAUSED and redis.call('HGET', PAUSES, thread) or all_paused == 1 and redis.call('HGET', PAUSES, '') or '',
         exhausted() }
