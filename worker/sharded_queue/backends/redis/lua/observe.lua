#!lua flags=no-writes
-- The state of a shard at a cost of O(worst + holds), whatever the numbers of threads and of bound threads.
--
-- ARGV  worst, holds to list at most beside those of the oldest tubes
-- Returns {now, counters (flat), threads, ready, bound, blocked, deepest that are not parked (flat), oldest tubes (flat:
-- thread/priority, stamp, depth, state of the thread), held (flat: thread, owner, fence, since or 0, lease ends at),
-- delayed, overdue, schedules, layout, old, parked, depth of the parked, dead letters, paused threads,
-- records in quarantine}

check_format()
local worst, most_holds = tonumber(ARGV[1]), tonumber(ARGV[2])

local is_paused = redis.call('HGET', COUNTERS, 'paused')
local holds = {}

-- As `State` in storage.py has it.
local function state_of(thread)
  if holds[thread] then return 'bound' end
  local blocked = redis.call('ZSCORE', BLOCKED, thread)
  if blocked == 'inf' and redis.call('HGET', QUARANTINE, 'thread ' .. thread) then return 'quarantined' end
  if is_paused or blocked == 'inf' then return 'paused' end
  if redis.call('ZSCORE', PARKED, thread) then return 'parked' end
  return blocked and 'blocked' or 'ready'
end

-- A thread whose lease has ended is not held: it is ready, though no worker has polled since.
local held, ends, is_listed = {}, {}, {}
local function list_holds(threads)
  for i, record in ipairs(records_of(HELD, threads)) do
    local thread = threads[i]
    local hold = not is_listed[thread] and read_hold(record)
    if hold then
      local till, at = ends[thread] or redis.call('ZSCORE', LEASES, thread) or '0', #held
      is_listed[thread], holds[thread] = true, tonumber(till) > now
      held[at + 1], held[at + 2], held[at + 3], held[at + 4], held[at + 5] = thread, hold.owner, hold.fence, hold.since, till
    end
  end
end

local tubes = redis.call('ZRANGE', OLDEST, 0, math.max(worst, 1) - 1, 'WITHSCORES')
local waiting = {}
for i = 1, #tubes, 2 do waiting[#waiting + 1] = string.match(tubes[i], '^(.*)/%-?%d+$') end
if most_holds > 0 then
  local leases, held_first = redis.call('ZRANGE', LEASES, 0, most_holds - 1, 'WITHSCORES'), {}
  for i = 1, #leases, 2 do
    ends[leases[i]] = leases[i + 1]
    held_first[#held_first + 1] = leases[i]
  end
  list_holds(held_first)
end
list_holds(waiting)

local oldest = {}
for i = 1, #tubes, 2 do
  local thread, priority = string.match(tubes[i], '^(.*)/(%-?%d+)$')
  for _, tube in ipairs(thread and tubes_of(thread) or {}) do
    if tube.priority == priority then
      oldest[#oldest + 1] = tubes[i]
      oldest[#oldest + 1] = tubes[i + 1]
      oldest[#oldest + 1] = tube.tail - tube.head
      oldest[#oldest + 1] = state_of(thread)
    end
  end
end

local ready = redis.call('ZCARD', READY)
for _, thread in ipairs(redis.call('ZRANGE', LEASES, '-inf', integer(now), 'BYSCORE', 'LIMIT', 0, SWEEP)) do
  if redis.call('HGET', THREADS, thread) and not redis.call('ZSCORE', BLOCKED, thread) then ready = ready + 1 end
end

local parked, parked_depth = redis.call('ZRANGE', PARKED, 0, SWEEP - 1), 0
for _, thread in ipairs(parked) do parked_depth = parked_depth + depth_of(tubes_of(thread) or {}) end

local deepest = {}
local deep = worst > 0 and redis.call('ZREVRANGE', DEEP, 0, worst - 1, 'WITHSCORES') or {}
for i = 1, #deep, 2 do
  if #parked == 0 or not redis.call('ZSCORE', PARKED, deep[i]) then
    deepest[#deepest + 1] = deep[i]
    deepest[#deepest + 1] = deep[i + 1]
  end
end

return { now, redis.call('HGETALL', COUNTERS), redis.call('HLEN', THREADS), ready,
         redis.call('ZCOUNT', LEASES, '(' .. integer(now), '+inf'), redis.call('ZCARD', BLOCKED),
         deepest, oldest, held,
         redis.call('ZCARD', DUE), redis.call('ZCOUNT', DUE, '-inf', now) + redis.call('ZCOUNT', OCCURRENCES, '-inf', now),
         redis.call('ZCARD', OCCURRENCES), redis.call('GET', LAYOUT) or '', redis.call('ZCARD', OLD),
         redis.call('ZCARD', PARKED), parked_depth, redis.call('ZCARD', DEAD),
         redis.call('ZCOUNT', BLOCKED, '+inf', '+inf'), redis.call('HLEN', QUARANTINE) }
