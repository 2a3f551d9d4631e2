#!lua flags=no-writes
-- The state of a shard at a cost of O(worst + holds + LOOKED_AT), whatever the numbers of threads and of bound threads.
--
-- ARGV  worst, holds to list at most beside those of the oldest tubes
-- Returns {now, counters and the mark of a paused shard, threads, ready, bound, blocked, deepest that are not parked
-- (flat), oldest tubes (flat: thread/priority, stamp, depth, state of the thread), held (flat: thread, owner, fence,
-- since or 0, lease ends at, requests in its hand), delayed, overdue, schedules, layout, old, parked, depth of the
-- parked, dead letters, paused threads, records in quarantine, blocked threads with requests, the first to be free
-- first (flat: thread, free at, depth), how many threads the workers can hold that told of themselves lately, since when
-- something is overdue or '', when a worker last told of itself or '', threads that stand still for a request without tries}
-- A shard to which nothing waits and nothing is held has a short answer, as an operator reads thousands of them each
-- second: {now, counters and mark as one text ('-' for none), dead letters, layout, threads that the workers can hold as
-- one text, when a worker last told of itself or ''}

local LOOKED_AT, WORKERS_READ, TOLD_MS = 1000, 100, 30000
local worst, most_holds = tonumber(ARGV[1]), tonumber(ARGV[2])
local counters = redis.call('HMGET', COUNTERS,
  'depth', 'registered', 'settled', 'dead', 'busy_us', 'born', 'polled', 'duplicates', 'paused')
local paused = counters[#counters]
-- thread, or '' -> when its pause ends by itself.
local ends_at = {}
-- thread -> whether its lease lasts; thread -> when its lease ends, as far as it was read; the holds of the answer
local holds, ends, held = {}, {}, {}

-- A thread whose lease has ended is not held: it is ready, though no worker has polled since.
local function list_holds(threads)
  for i, record in ipairs(records_of(HELD, threads)) do
    local thread = threads[i]
    local hold = holds[thread] == nil and read_hold(record)
    if hold then
      local till, at = ends[thread] or redis.call('ZSCORE', LEASES, thread) or '0', #held
      holds[thread] = tonumber(till) > now
      held[at + 1], held[at + 2], held[at + 3], held[at + 4] = thread, hold.owner, hold.fence, hold.since
      held[at + 5], held[at + 6] = till, math.max(0, hold.last - hold.first + 1)
    end
  end
end

local function list_first_holds()
  if most_holds == 0 then return end
  local leases, threads = redis.call('ZRANGE', LEASES, 0, most_holds - 1, 'WITHSCORES'), {}
  for i = 1, #leases, 2 do
    ends[leases[i]] = leases[i + 1]
    threads[#threads + 1] = leases[i]
  end
  list_holds(threads)
end

local function has_failed(thread, priority, head)
  local failure = failure_of(thread, priority)
  return failure and failure.sequence == tonumber(head)
    and (failure.attempts > 0 or failure.crashes > 0
      or failure.reason ~= '' and not string.match(failure.reason, '^snoozed %('))
end

-- As `State` of the library has it.
local function state_of(thread, priority, head)
  if holds[thread] then return has_failed(thread, priority, head) and 'failing' or 'bound' end
  local blocked = redis.call('ZSCORE', BLOCKED, thread)
  if blocked and redis.call('HGET', QUARANTINE, 'thread ' .. thread) then return 'quarantined' end
  local is_over = ends_at[thread] and tonumber(ends_at[thread]) <= now
  if paused or is_withheld(blocked) and blocked ~= STOPPED and not is_over then return 'paused' end
  if blocked and redis.call('HGET', EXHAUSTED, thread) then return 'exhausted' end
  if redis.call('ZSCORE', PARKED, thread) then return 'parked' end
  return blocked and not is_over and 'blocked' or 'ready'
end

-- How many requests one tube has, and the number of the first, by the record of its thread; nil where it has none. The
-- record is searched, because reading a hundred tubes to find one takes five times as long.
local function depth_in(record, priority)
  local text, wanted, at = ' ' .. record, ' ' .. priority .. ' ', 0
  while true do
    at = string.find(text, wanted, at + 1, true)
    if not at then return nil end
    local shorter = 2 * at < #text and string.sub(text, 1, at - 1) or string.sub(text, at)
    local _, fields = string.gsub(shorter, ' ', '')
    if fields % 3 == 0 then -- else it is the head or the tail of another tube
      local head, tail = string.match(text, '^(%-?%d+) (%-?%d+)', at + #wanted)
      return head and tail - head, head
    end
  end
end

-- The oldest tubes, and the holds of their threads.
local function oldest_tubes()
  local tubes, threads, oldest = redis.call('ZRANGE', OLDEST, 0, math.max(worst, 1) - 1, 'WITHSCORES'), {}, {}
  for i = 1, #tubes, 2 do threads[#threads + 1] = string.match(tubes[i], '^(.*)/%-?%d+$') or '' end
  list_holds(threads)
  for n, record in ipairs(records_of(THREADS, threads)) do
    local i, at = 2 * n - 1, #oldest
    local priority, depth, first = string.match(tubes[i], '%-?%d+$')
    if record then depth, first = depth_in(record, priority) end
    if depth then
      oldest[at + 1], oldest[at + 2], oldest[at + 3] = tubes[i], tubes[i + 1], depth
      oldest[at + 4] = state_of(threads[n], priority, first)
    end
  end
  return oldest
end

-- Threads that are ready, with those whose leases have ended.
local function count_ready()
  local ready = redis.call('ZCARD', READY)
  for _, thread in ipairs(redis.call('ZRANGE', LEASES, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, LOOKED_AT)) do
    if redis.call('HGET', THREADS, thread) and not redis.call('ZSCORE', BLOCKED, thread) then ready = ready + 1 end
  end
  return ready
end

local function parked_depth()
  local threads, depth = redis.call('ZRANGE', PARKED, 0, LOOKED_AT - 1), 0
  if #threads == 0 then return 0 end
  for _, deep in ipairs(redis.call('ZMSCORE', DEEP, unpack(threads))) do depth = depth + (tonumber(deep or nil) or 1) end
  return depth
end

local function deepest_threads()
  if worst == 0 then return {} end
  -- Beside *worst* others, blocked threads may be listed: they must not hide the threads that workers can have.
  local most = worst + math.min(LOOKED_AT, redis.call('ZCARD', BLOCKED))
  local deep, deepest = redis.call('ZREVRANGE', DEEP, 0, most - 1, 'WITHSCORES'), {}
  local any_parked = redis.call('EXISTS', PARKED) == 1
  for i = 1, #deep, 2 do
    if not any_parked or not redis.call('ZSCORE', PARKED, deep[i]) then
      deepest[#deepest + 1] = deep[i]
      deepest[#deepest + 1] = deep[i + 1]
    end
  end
  return deepest
end

-- The first pauses that end by themselves. One whose end has come is over, though no worker has polled since.
local function read_resumes()
  local resumes = redis.call('ZRANGE', RESUMES, 0, LOOKED_AT - 1, 'WITHSCORES')
  for i = 1, #resumes, 2 do ends_at[resumes[i]] = resumes[i + 1] end
  if paused and ends_at[''] and tonumber(ends_at['']) <= now then paused, counters[#counters] = false, false end
end

local function count_paused()
  local count = redis.call('ZCOUNT', BLOCKED, PAUSED, PAUSED)
  for name, ends in pairs(ends_at) do
    if name ~= '' and tonumber(ends) <= now then count = count - 1 end
  end
  return math.max(0, count)
end

local function blocked_threads()
  local blocked, threads, found = redis.call('ZRANGE', BLOCKED, 0, LOOKED_AT - 1, 'WITHSCORES'), {}, {}
  if #blocked == 0 then return found end
  local till = {}
  for i = 1, #blocked, 2 do till[blocked[i]] = blocked[i + 1] end
  local any_exhausted = redis.call('EXISTS', EXHAUSTED) == 1
  for thread, ends in pairs(ends_at) do -- a stop outlasts the pause
    local stays = any_exhausted and redis.call('HGET', EXHAUSTED, thread)
    till[thread] = thread ~= '' and (stays and STOPPED or ends) or nil
  end
  for thread in pairs(till) do threads[#threads + 1] = thread end
  table.sort(threads, function(a, b)
    local first, second = tonumber(till[a]), tonumber(till[b])
    return first < second or first == second and a < b
  end)
  for i, deep in ipairs(redis.call('ZMSCORE', DEEP, unpack(threads, 1, math.min(#threads, LOOKED_AT)))) do
    if deep or redis.call('HGET', THREADS, threads[i]) then
      local at = #found
      found[at + 1], found[at + 2], found[at + 3] = threads[i], till[threads[i]], deep or '1'
    end
  end
  return found
end

-- What workers told of themselves, the latest first, and when; none where the key is of another kind.
local told = redis.pcall('ZREVRANGE', WORKERS, 0, WORKERS_READ - 1, 'WITHSCORES')

-- Each number once, of what each worker told last.
local function concurrencies()
  local known, found = {}, {}
  for i = 1, #told, 2 do
    if tonumber(told[i + 1]) < now - TOLD_MS then break end
    local owner, number = string.match(told[i] .. ' ', '^(%S+) %S+ (%d+) %d+ ')
    if owner and #number < 10 and not known[owner] then
      known[owner] = true
      found[#found + 1] = not known[number] and number or nil
      known[number] = true
    end
  end
  return found
end

-- Since when the first delayed request or schedule is overdue, if any is.
local function overdue_since(overdue)
  if overdue == 0 then return '' end
  local since = math.huge
  for _, key in ipairs({ DUE, OCCURRENCES }) do
    since = math.min(since, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) or math.huge)
  end
  return integer(since)
end

-- Counters that are none are left to the long answer, which names them.
local function short_answer()
  local waiting = redis.call('EXISTS', THREADS, READY, OLDEST, DEEP, BLOCKED, DUE, OCCURRENCES, OLD, PARKED, LEASES, QUARANTINE,
    RESUMES)
  if waiting > 0 then return nil end
  local values = {}
  for i, value in ipairs(counters) do values[i] = value or '-' end
  local text = table.concat(values, ' ')
  if string.find(text, '[^%d -]') then return nil end
  return { now, text, redis.call('ZCARD', DEAD), redis.call('GET', LAYOUT) or '', table.concat(concurrencies(), ' '),
           told[2] or '' }
end

check_format()
local short = short_answer()
if short then return short end
read_resumes()
list_first_holds()
local oldest = oldest_tubes()
local overdue = redis.call('ZCOUNT', DUE, '-inf', now_text) + redis.call('ZCOUNT', OCCURRENCES, '-inf', now_text)
return { now, counters, redis.call('HLEN', THREADS), count_ready(),
         redis.call('ZCOUNT', LEASES, '(' .. now_text, '+inf'), redis.call('ZCARD', BLOCKED),
         deepest_threads(), oldest, held, redis.call('ZCARD', DUE),
         overdue, redis.call('ZCARD', OCCURRENCES), redis.call('GET', LAYOUT) or '', redis.call('ZCARD', OLD),
         redis.call('ZCARD', PARKED), parked_depth(), redis.call('ZCARD', DEAD),
         count_paused(), redis.call('HLEN', QUARANTINE), blocked_threads(),
         concurrencies(), overdue_since(overdue), told[2] or '', redis.call('HLEN', EXHAUSTED) }
