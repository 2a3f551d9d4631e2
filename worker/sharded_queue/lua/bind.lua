#!lua flags=allow-oom
-- Bind threads that are free and have requests, the oldest request first, and hand out their first requests.
--
-- ARGV  owner, threads, wanted, lease ms, crash limit, known fence ('' unless this call is sent again),
--       ageing ms (0: priorities do not age), bytes of all messages together, but for one that is larger alone
-- Returns {ms until something may become free, or -1 for never, or -2 for a dismissed worker, 1 if threads are left behind,
--         ms until a schedule occurs or -1, then per thread: thread, fence, priority, first, attempt, messages}

local owner, threads, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, crash_limit, known, ageing = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local room = tonumber(ARGV[8])

-- An earlier sending of this call was carried out and its answer was lost: what it bound was never seen by the owner.
local function take_back()
  for _, thread in ipairs(redis.call('HKEYS', HELD)) do
    local held = held_of(thread)
    if held.owner == owner and tonumber(held.fence) > tonumber(known) then
      let_go(thread)
      make_ready(thread, tubes_of(thread))
    end
  end
end

local counted = redis.call('HMGET', COUNTERS, 'fence', 'largest', 'latest')
follow_clock(counted[3])

-- A clock that was set back must not freeze a thread: no lease ends later than a full lease from now.
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '(' .. whole(now + lease), '+inf', 'LIMIT', 0, SWEEP)) do
  local held = held_of(thread)
  redis.call('ZADD', LEASES, 'LT', now + (held and tonumber(held.lease) or 0), thread)
end
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, SWEEP)) do expire(thread, crash_limit) end
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', BLOCKED, '-inf', now, 'LIMIT', 0, SWEEP)) do
  redis.call('ZREM', BLOCKED, thread)
  make_ready(thread, tubes_of(thread))
end
promote()
unpark()
if known ~= '' then take_back() end

-- Whoever is about to be stopped is given nothing that it would have to give back.
local function is_dismissed()
  local till = redis.call('ZSCORE', DISMISSED, string.match(owner, '^[^/]*'))
  return till and tonumber(till) > now
end

local dismissed = is_dismissed()
if wanted < 1 or dismissed then threads = 0 end
if threads > 0 then redis.call('HSET', COUNTERS, 'looked', whole(now)) end
local reply = { -1, 0, -1 }
local picked = threads > 0 and not is_paused() and redis.call('ZPOPMIN', READY, threads) or {}
local bound, records, leases = {}, {}, {}
for i = 1, #picked, 2 do bound[#bound + 1] = picked[i] end
local fence = math.max((tonumber(counted[1]) or 0) + 1, now_us)
largest = tonumber(counted[2]) or 0
local since, till = whole(now), whole(now + lease)
for i, record in ipairs(records_of(THREADS, bound)) do
  local thread = bound[i]
  if i > 1 and room <= 0 then -- those that are left stay where they were
    for j = i, #bound do redis.call('ZADD', READY, picked[2 * j], bound[j]) end
    break
  end
  local held = { fence = whole(fence), owner = owner, since = since, lease = ARGV[4], priority = '0', first = 0, last = -1,
                 ageing = ageing, call = 0 }
  local priority, first, attempt, messages, bytes =
    hand_out(thread, read_tubes(record), held, wanted, share_of(room, #bound - i + 1))
  if messages then
    room = room - bytes
    local at, n = #reply, #leases
    reply[at + 1], reply[at + 2], reply[at + 3] = thread, held.fence, priority
    reply[at + 4], reply[at + 5], reply[at + 6] = first, attempt, messages
    records[n + 1], records[n + 2] = thread, spelled_hold(held)
    leases[n + 1], leases[n + 2] = till, thread
    fence = fence + 1
  end
end
in_chunks(records, 'HSET', HELD)
in_chunks(leases, 'ZADD', LEASES)
if #reply > 3 then redis.call('HSET', COUNTERS, 'fence', whole(fence - 1)) end

-- Whoever was called and leaves work behind calls the next one.
if (#picked > 0 or dismissed) and redis.call('EXISTS', READY) == 1 then woken, reply[2] = woken + 1, 1 end
for _, key in ipairs({ LEASES, BLOCKED, DUE }) do
  local score = tonumber(redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')[2])
  if score and score < math.huge and (reply[1] < 0 or score - now < reply[1]) then reply[1] = math.max(score - now, 0) end
end
local occurs = tonumber(redis.call('ZRANGE', OCCURRENCES, '0', '0', 'WITHSCORES')[2])
if occurs then reply[3] = math.max(occurs - now, 0) end
finish()
if dismissed then reply[1] = -2 end
return reply
