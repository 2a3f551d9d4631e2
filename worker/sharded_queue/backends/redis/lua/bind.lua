#!lua flags=allow-oom
-- Bind threads that are free and have requests, the oldest request first, and hand out their first requests.
--
-- KEYS  base, lock, caller
-- ARGV  call, the last call whose answer the caller received, the last fence that it received, owner, threads, wanted,
--       lease ms, crash limit, ageing ms (0: priorities do not age), bytes of all messages together, which only a single
--       larger message may exceed, what the worker tells of itself or '', threads to bind ahead, 1 if a request without
--       tries stops its thread, or 0 if it becomes a dead letter
-- Returns {ms until a thread may become free, or -1 for never, or -2 for a cordoned worker, 1 if threads are left behind,
--         ms until a schedule occurs or -1, then per thread: thread, fence, priority, first, attempt, messages}

local call, heard, known = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local owner, threads, wanted = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local lease, crash_limit, ageing, room = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10])

local reply = { -1, 0, -1 }
local counted

local function grant(thread, fence, priority, first, attempt, messages)
  if not messages then return end
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = thread, fence, priority
  reply[at + 4], reply[at + 5], reply[at + 6] = first, attempt, messages
end

-- The first moment in a sorted set of moments.
local function first_moment(key)
  return tonumber(redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')[2]) or math.huge
end

-- When the first back-off ends, or the first pause that ends by itself.
local function first_freed()
  local first = redis.call('ZRANGE', BLOCKED, '0', '0', 'WITHSCORES')[2]
  if not first and not counted[4] then return math.huge end
  return math.min(tonumber(first or nil) or math.huge, first_moment(RESUMES))
end

-- Answer until when a thread may become free, and until when a schedule occurs. `ends` and `free`: when the first lease
-- and the first back-off or pause end, if the caller knows it.
local function look_ahead(occurs, ends, free)
  local due = has_waiting and math.huge or first_moment(DUE)
  local soonest = math.min(ends or first_moment(LEASES), free or first_freed(), due)
  if soonest < 1e14 then reply[1] = math.max(soonest - now, 0) end
  if shift then reply[1] = 0 end
  if occurs < 1e14 then reply[3] = math.max(occurs - now, 0) end
end

-- A worker that is about to be stopped gets no threads that it would have to give back.
local function is_cordoned()
  local till = redis.call('ZSCORE', CORDONED, string.match(owner, '^[^/]*'))
  return till and tonumber(till) > now
end

-- 1. Compare the call with the one before. A call that comes late binds nothing: its caller has gone on, and would
-- never know of the threads.

counted = redis.call('HMGET', COUNTERS, 'fence', 'largest', 'latest', 'paused', 'format', 'shift')
check_format(counted[5])
local known_call = redis.call('SET', KEYS[3], ARGV[1], 'EX', CALLER_SECONDS, 'GET') or ''
local before, bound_before = string.match(known_call, '^(%d+) ?(.*)$')
before = tonumber(before)
if not is_integer(before) then before = 0 end -- no number of ours
if before >= call then redis.call('SET', KEYS[3], known_call, 'EX', CALLER_SECONDS) end
if before > call then return reply end

-- The call comes again: its owner may be at work already, so the same threads are answered.
if before == call then
  local threads, holds = rarely().unacknowledged(bound_before, owner, known)
  for _, thread in ipairs(threads) do
    local held = holds[thread]
    grant(thread, held.fence, rarely().in_hand(thread, rarely().tubes_of(thread), held))
  end
  look_ahead(first_moment(OCCURRENCES))
  local cordoned = is_cordoned()
  if (#threads > 0 or cordoned) and redis.call('EXISTS', READY) == 1 then reply[2] = 1 end
  if cordoned then reply[1] = -2 end
  return reply
end

-- 2. Free threads: those whose leases, back-offs or pauses ended, and those whose requests or layout have become due.

follow_clock(counted[3], counted[6])

-- A clock that was set back must not freeze a thread. The last lease to end shows whether any is too long.
local till = integer(now + lease)
local is_late = tonumber(redis.call('ZRANGE', LEASES, '-1', '-1', 'WITHSCORES')[2] or 0) > now + lease
local ends, free = first_moment(LEASES), first_freed()
local over = ends <= now and redis.call('ZRANGEBYSCORE', LEASES, '-inf', now_text, 'LIMIT', '0', SWEEP) or {}
local ripe = free <= now and redis.call('ZRANGEBYSCORE', BLOCKED, '-inf', now_text, 'LIMIT', '0', SWEEP) or {}
local paused = free <= now and redis.call('ZRANGEBYSCORE', RESUMES, '-inf', now_text, 'LIMIT', '0', SWEEP) or {}
if is_late or #over + #ripe + #paused > 0 or before > heard then
  rarely().check_kinds()
  ends, free = nil, nil -- the writes that follow change both
end
if is_late then rarely().clamp_leases() end
for _, thread in ipairs(over) do rarely().expire(thread, crash_limit, ARGV[13] == '1') end
for _, thread in ipairs(ripe) do
  redis.call('ZREM', BLOCKED, thread)
  rarely().make_ready(thread, rarely().tubes_of(thread))
end
for _, thread in ipairs(paused) do
  rarely().end_pause(thread)
  if thread == '' then counted[4] = false end
end
promote()
unpark()
if before > heard then rarely().take_back(bound_before, owner, known) end

-- 3. Pick threads that are ready.

local cordoned = is_cordoned()
local asked, ahead = ARGV[5], tonumber(ARGV[12])
if wanted < 1 or cordoned then threads, ahead = 0, 0 end
local is_asked = threads + ahead > 0
if ahead > 0 then -- as many threads are left for other workers as are bound ahead
  local left = redis.call('ZCARD', READY) - threads
  threads = threads + math.max(0, math.min(ahead, math.floor(left / 2)))
  asked = integer(threads)
end
local picked, is_left = {}, false
if threads > 0 and not counted[4] then
  picked = redis.call('ZRANGE', READY, '0', asked) -- one thread more, to know whether any is left behind
  is_left, picked[threads + 1] = #picked > threads, nil
end

-- 4. Hand out their first requests.

local taken, records, leases, bound = {}, {}, {}, {}
local fence = math.max((is_integer(tonumber(counted[1])) and counted[1] or 0) + 1, now_us)
largest = tonumber(counted[2]) or 0
local occurs = first_moment(OCCURRENCES)

local are_texts = is_text(table.concat(picked, ' '))

-- The first requests of a ready thread. One that is held all the same has its worker; one whose name or record cannot
-- be read goes to quarantine.
local function first_of(thread, record, hold, held, share)
  if hold and read_hold(hold) and redis.call('ZSCORE', LEASES, thread) then return nil end
  local tubes = read_tubes(record)
  if tubes and (are_texts or is_text(thread)) then return hand_out(thread, tubes, held, wanted, share) end
  rarely().quarantine(thread, tubes and 'its name is not UTF-8' or UNREADABLE)
end

local holds = records_of(HELD, picked)
for i, record in ipairs(records_of(THREADS, picked)) do
  if i > 1 and room <= 0 then -- the others stay ready
    is_left = true
    break
  end
  local thread = picked[i]
  taken[i] = thread
  local held = { fence = integer(fence), owner = owner, since = now_text, lease = ARGV[7], priority = '0', first = 0,
                 last = -1, ageing = ageing, call = '0' }
  local priority, first, attempt, messages, bytes =
    first_of(thread, record, holds[i], held, room / (#picked - i + 1))
  if messages then
    room = room - bytes
    local n = #leases
    grant(thread, held.fence, priority, first, attempt, messages)
    records[n + 1], records[n + 2] = thread, encode_hold(held)
    leases[n + 1], leases[n + 2] = till, thread
    bound[#bound + 1] = thread
    fence = fence + 1
  end
end

-- 5. Write the holds, wake the next worker if threads are left behind, and answer.

if ARGV[11] ~= '' then rarely().note_worker(owner, ARGV[11]) end
-- If the answer is lost, the next call finds these threads by it.
if #bound > 0 then redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. cmsgpack.pack(bound), 'EX', CALLER_SECONDS) end
in_chunks(taken, 'ZREM', READY)
in_chunks(records, 'HSET', HELD)
in_chunks(leases, 'ZADD', LEASES)
if #reply > 3 then
  redis.call('HSET', COUNTERS, 'polled', now_text, 'fence', integer(fence - 1))
elseif is_asked then
  redis.call('HSET', COUNTERS, 'polled', now_text)
end
if is_left or cordoned and redis.call('EXISTS', READY) == 1 then woken, reply[2] = woken + 1, 1 end
-- Earlier wake-ups would be for nothing: no thread is ready, and this worker has room for the next one and knows when.
if not is_left and #picked < tonumber(ARGV[5]) and is_asked and not counted[4] then
  redis.call('DEL', WAKE)
end
if ends and #leases > 0 then ends = math.min(ends, now + lease) end
look_ahead(occurs, ends, free)
finish()
if cordoned then reply[1] = -2 end
return reply
