#!lua flags=allow-oom
-- Remove requests that were handled, and hand out what comes next. Each lease stands for itself.
--
-- ARGV  sent again (0 or 1), then per lease: thread, fence, priority, through ('' for nothing), busy us,
--       wanted, release (0 no, 1 when nothing is handed out, 2 also when others wait)
-- Returns per lease {0} lost, {1} nothing handed out, {2} released, {3, priority, first, attempt, messages}
--
-- Sequence numbers are named, never a count: what was removed already is not removed again. A thread that this very
-- call released when it was sent before is no longer held; the owner sends again only while its lease lasts, so nobody
-- else can have freed it.

local again = ARGV[1] == '1'
local busy_us = 0

-- The turn of a thread is over: it lines up behind those that wait now.
local function yield(thread)
  let_go(thread)
  redis.call('ZADD', READY, now + 1, thread) -- behind those of this very millisecond too
  woken = woken + 1
  return { 2 }
end

-- Whether another thread lacks a worker. Back-offs that are over, leases that expired and threads that nothing parks any
-- more become ready with the next call of bind, which nobody makes while all workers are busy.
local function others_wait(thread)
  if redis.call('EXISTS', READY, OPENED) > 0 or redis.call('ZCOUNT', BLOCKED, '-inf', now) > 0 then return true end
  for _, expired in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 2)) do
    if expired ~= thread then return true end
  end
  return false
end

local function settle(thread, fence, priority, through, busy, wanted, release)
  local held = holds(thread, fence)
  if not held then
    local was_released = again and (release > 0 or wanted > 0 and is_paused(thread)) and not held_of(thread)
    return { was_released and 2 or 0 }
  end
  local tubes = tubes_of(thread)
  if through then
    for i, tube in ipairs(tubes) do
      if tube.priority == priority and through >= tube.head then
        if held.priority ~= priority or through > held.last then return { 0 } end -- was never handed out
        settled = settled + through + 1 - tube.head
        busy_us = busy_us + busy
        drop(thread, tubes, i, through + 1 - tube.head)
        break
      end
    end
  end
  if wanted > 0 and is_paused(thread) then wanted, release = 0, 1 end
  if release == 2 and #tubes > 0 and wanted > 0 and others_wait(thread) then return yield(thread) end
  local batch = wanted > 0 and hand_out(thread, tubes, held, wanted)
  if batch then return { 3, batch[1], batch[2], batch[3], batch[4] } end
  if release > 0 then
    let_go(thread)
    make_ready(thread, tubes)
    return { 2 }
  end
  held.first = held.last + 1
  if #tubes == 0 then held.since = 0 end
  keep_held(thread, held)
  return { 1 }
end

promote()
local reply = {}
for at = 2, #ARGV, 7 do
  reply[#reply + 1] = settle(ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]))
end
if busy_us > 0 then redis.call('HINCRBY', COUNTERS, 'busy_us', busy_us) end
finish()
return reply
