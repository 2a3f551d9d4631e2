#!lua flags=allow-oom
-- Bind threads that are free and have requests, the oldest request first, and hand out their first requests.
--
-- KEYS  base, lock, caller
-- ARGV  call, the last call whose answer the caller heard, the last fence that it was given,
--       owner, threads, wanted, lease ms, crash limit, ageing ms (0: priorities do not age),
--       bytes of all messages together, but for one that is larger alone
-- Returns {ms until something may become free, or -1 for never, or -2 for a cordoned worker, 1 if threads are left behind,
--         ms until a schedule occurs or -1, then per thread: thread, fence, priority, first, attempt, messages}

local call, heard, known = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local owner, threads, wanted = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local lease, crash_limit, ageing, room = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10])

local reply = { -1, 0, -1 }

local counted = redis.call('HMGET', COUNTERS, 'fence', 'largest', 'latest', 'paused', 'format')
check_format(counted[5])

-- The call before. A call that comes late binds nothing: its caller has gone on, and would never know of it.
local before = tonumber(redis.call('SET', KEYS[3], ARGV[1], 'EX', CALLER_SECONDS, 'GET') or 0)
if not is_integer(before) then before = 0 end -- no number of ours
if before > call then
  redis.call('SET', KEYS[3], integer(before), 'EX', CALLER_SECONDS)
  return reply
end

-- The holds of this owner that it had not been given when it called, the oldest first.
local function unacknowledged()
  local threads, holds = {}, {}
  for _, thread in ipairs(redis.call('HKEYS', HELD)) do
    local held = rarely().held_of(thread)
    if held and held.owner == owner and tonumber(held.fence) > known then
      threads[#threads + 1], holds[thread] = thread, held
    end
  end
  table.sort(threads, function(one, other) return tonumber(holds[one].fence) < tonumber(holds[other].fence) end)
  return threads, holds
end

local function grant(thread, fence, priority, first, attempt, messages)
  if not messages then return end
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = thread, fence, priority
  reply[at + 4], reply[at + 5], reply[at + 6] = first, attempt, messages
end

-- Until something may become free, and until a schedule occurs.
local function next_occurrence()
  return tonumber(redis.call('ZRANGE', OCCURRENCES, '0', '0', 'WITHSCORES')[2])
end

local function look_ahead(occurs)
  for _, key in ipairs({ LEASES, BLOCKED, not has_waiting and DUE or nil }) do
    local score = tonumber(redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')[2])
    if score and score < 1e14 and (reply[1] < 0 or score - now < reply[1]) then reply[1] = math.max(score - now, 0) end
  end
  if occurs and occurs < 1e14 then reply[3] = math.max(occurs - now, 0) end
end

-- Whoever is about to be stopped is given nothing that it would have to give back.
local function is_cordoned()
  local till = redis.call('ZSCORE', CORDONED, string.match(owner, '^[^/]*'))
  return till and tonumber(till) > now
end

-- Sent again, or late: whoever has the answer may be at work already.
if before == call then
  local threads, holds = unacknowledged()
  for _, thread in ipairs(threads) do grant(thread, holds[thread].fence, rarely().in_hand(thread, rarely().tubes_of(thread), holds[thread])) end
  look_ahead(next_occurrence())
  local cordoned = is_cordoned()
  if (#threads > 0 or cordoned) and redis.call('EXISTS', READY) == 1 then reply[2] = 1 end
  if cordoned then reply[1] = -2 end
  return reply
end

-- A call before was carried out and never answered: nobody works on what it bound.
local function take_back()
  for _, thread in ipairs(unacknowledged()) do
    rarely().let_go(thread)
    rarely().make_ready(thread, rarely().tubes_of(thread))
  end
end

follow_clock(counted[3])

-- A clock that was set back must not freeze a thread: no lease ends later than a full lease from now.
local till = integer(now + lease)
local late = redis.call('ZRANGEBYSCORE', LEASES, '(' .. till, '+inf', 'LIMIT', '0', SWEEP)
local over = redis.call('ZRANGEBYSCORE', LEASES, '-inf', now_text, 'LIMIT', '0', SWEEP)
local ripe = redis.call('ZRANGEBYSCORE', BLOCKED, '-inf', now_text, 'LIMIT', '0', SWEEP)
if #late + #over + #ripe > 0 or before > heard then rarely().check_kinds() end
for _, thread in ipairs(late) do
  local held = rarely().held_of(thread)
  redis.call('ZADD', LEASES, 'LT', now + (held and tonumber(held.lease) or 0), thread)
end
for _, thread in ipairs(over) do rarely().expire(thread, crash_limit) end
for _, thread in ipairs(ripe) do
  redis.call('ZREM', BLOCKED, thread)
  rarely().make_ready(thread, rarely().tubes_of(thread))
end
promote()
unpark()
if before > heard then take_back() end

local cordoned = is_cordoned()
if wanted < 1 or cordoned then threads = 0 end
local picked = threads > 0 and not counted[4] and redis.call('ZRANGEBYSCORE', READY, '-inf', '+inf', 'LIMIT', '0', ARGV[5]) or {}
local taken, records, leases = {}, {}, {}
local fence = math.max((is_integer(tonumber(counted[1])) and counted[1] or 0) + 1, now_us)
largest = tonumber(counted[2]) or 0
local occurs = next_occurrence()

local are_texts = is_text(table.concat(picked, ' '))

-- The first requests of a thread that is ready. One that is held all the same has its worker; one whose name or record
-- cannot be read has none.
local function first_of(thread, record, hold, held, share)
  if hold and read_hold(hold) and redis.call('ZSCORE', LEASES, thread) then return nil end
  local tubes = read_tubes(record)
  if tubes and (are_texts or is_text(thread)) then return hand_out(thread, tubes, held, wanted, share) end
  rarely().quarantine(thread, tubes and 'its name is not UTF-8' or UNREADABLE)
end

local holds = records_of(HELD, picked)
for i, record in ipairs(records_of(THREADS, picked)) do
  if i > 1 and room <= 0 then break end -- those that are left stay where they are
  local thread = picked[i]
  taken[i] = thread
  local held = { fence = integer(fence), owner = owner, since = now_text, lease = ARGV[7], priority = '0', first = 0, last = -1,
                 ageing = ageing, call = '0' }
  local priority, first, attempt, messages, bytes =
    first_of(thread, record, holds[i], held, room / (#picked - i + 1))
  if messages then
    room = room - bytes
    local n = #leases
    grant(thread, held.fence, priority, first, attempt, messages)
    records[n + 1], records[n + 2] = thread, encode_hold(held)
    leases[n + 1], leases[n + 2] = till, thread
    fence = fence + 1
  end
end
in_chunks(taken, 'ZREM', READY)
in_chunks(records, 'HSET', HELD)
in_chunks(leases, 'ZADD', LEASES)
if #reply > 3 then
  redis.call('HSET', COUNTERS, 'looked', now_text, 'fence', integer(fence - 1))
elseif threads > 0 then
  redis.call('HSET', COUNTERS, 'looked', now_text)
end

-- Whoever was called and leaves work behind calls the next one.
if (#picked > 0 or cordoned) and redis.call('EXISTS', READY) == 1 then woken, reply[2] = woken + 1, 1 end
look_ahead(occurs)
finish()
if cordoned then reply[1] = -2 end
return reply
