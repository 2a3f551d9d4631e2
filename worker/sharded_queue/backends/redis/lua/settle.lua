#!lua flags=allow-oom
-- Remove requests that were handled, and hand out what comes next. Each lease stands for itself.
--
-- ARGV  sent again (0 or 1), bytes of all messages that are handed out, beside the first of each lease; then per lease:
--       thread, fence, priority, through ('' for nothing), busy us, wanted, release (0 no, 1 when nothing is handed out,
--       2 also when others wait, 3 as if others waited), number of the holder's call or ''
-- Returns per lease 0 lost, 1 nothing handed out, 2 released, or {3, priority, first, attempt, messages}
--
-- Calls name sequence numbers, never a count, so that requests are not removed twice. A settlement that was carried
-- out, or whose requests were settled, is only answered: its holder may be at its next batch. If this call released a
-- thread when it was sent before, the thread is free by now, or another worker holds it, and its requests are gone. Its
-- owner sends again only while its lease lasts, so only this call can have freed it.

local again = ARGV[1] == '1'
local busy_us, room = 0, tonumber(ARGV[2])

-- The usual end of a thread with few requests: its only tube was handled to the end, and the thread is released.
-- `settle` would do the same in many more steps. What ends is collected, and removed by one command per key.
local ended, members, deep, lists = {}, {}, {}, {}
local function end_thread(hold, tubes, thread, fence, priority, through, busy)
  local held_fence, held_priority, first, last = string.match(hold or '', '^(%d+) %S+ %d+ %d+ (%S+) (%S+) (%S+)')
  local tube_priority, head, tail = string.match(tubes or '', '^(%-?%d+) (%-?%d+) (%-?%d+)$')
  if held_fence ~= fence or held_priority ~= priority or last ~= through or first ~= head
      or tube_priority ~= priority or tail - through ~= 1 or failure_of(thread, priority) then
    return false
  end
  local count = tail - head
  if count >= 2 then deep[#deep + 1] = thread end
  if may_move(thread) then rarely().index_drained(thread) end
  settled, depth_change, busy_us = settled + count, depth_change - count, busy_us + busy
  ended[#ended + 1], members[#members + 1] = thread, thread .. '/' .. priority
  lists[#lists + 1] = list_of(thread, priority)
  return true
end

-- Keys that were not read come first: one of another kind ends the script before requests are removed.
local function write_ends()
  if #ended == 0 then return end
  in_chunks(members, 'ZREM', OLDEST)
  in_chunks(ended, 'ZREM', LEASES)
  in_chunks(deep, 'ZREM', DEEP)
  in_chunks(ended, 'HDEL', THREADS)
  in_chunks(ended, 'HDEL', HELD)
  for from = 1, #lists, CHUNK do redis.call('DEL', unpack(lists, from, math.min(from + CHUNK - 1, #lists))) end
  ended, members, deep, lists = {}, {}, {}, {}
end

-- The turn of a thread is over: it lines up behind the threads that wait now. As many threads as wait make others of
-- this call yield, and no more: those that yielded do not count.
local lined_up, made_way = 0, 0
local function yield(thread)
  redis.call('ZADD', READY, now + 1, thread) -- behind those of this very millisecond too
  let_go(thread)
  woken, lined_up = woken + 1, lined_up + 1
  return 2
end

-- Whether another thread lacks a worker. Threads whose back-off is over, whose lease expired or that are parked no
-- longer become ready only with the next bind, and while all workers are busy there is none.
local function others_wait(thread)
  write_ends()
  local waiting = redis.call('ZCARD', READY) + redis.call('EXISTS', UNPARKING)
    + redis.call('ZCOUNT', BLOCKED, '-inf', now_text) + redis.call('ZCOUNT', LEASES, '-inf', now_text)
  if waiting == 0 then return false end
  local own = tonumber(redis.call('ZSCORE', LEASES, thread) or math.huge) <= now and 1 or 0
  if waiting - own <= lined_up + made_way then return false end
  made_way = made_way + 1
  return true
end

local function settle(hold, record, thread, fence, priority, through, busy, wanted, release, call, share)
  local held, tubes = read_hold(hold), read_tubes(record)
  local place = through and tubes and position_of(tubes, priority)
  local was_settled = through and tubes and not (place and tubes[place].head <= through)
  if not held or held.fence ~= fence then
    local was_released = again and (release > 0 or wanted > 0 and is_paused(thread)) and (was_settled or not through)
    return was_released and 2 or 0
  end
  if not tubes then
    rarely().quarantine(thread, UNREADABLE)
    let_go(thread)
    return 0
  end
  if was_settled or is_answered(held, call) then
    local handed = { 3, rarely().in_hand(thread, tubes, held) }
    return #handed > 1 and handed or 1
  end
  if call ~= '' then held.call = call end
  if wanted > 0 and is_paused(thread) then wanted, release = 0, 1 end
  if release >= 2 or release > 0 and wanted == 0 then check_way_back() end
  if through then
    if held.priority ~= priority or through > held.last then return 0 end -- it was never handed out
    local count = through + 1 - tubes[place].head
    settled, busy_us = settled + count, busy_us + busy
    pop_requests(thread, tubes, place, count)
  end
  if release >= 2 and #tubes > 0 and wanted > 0 and (release == 3 or others_wait(thread)) then return yield(thread) end
  if wanted > 0 and #tubes > 0 then
    local handed = { 3, hand_out(thread, tubes, held, wanted, share) }
    if #handed > 1 then
      room = room - handed[6]
      handed[6] = nil
      store_hold(thread, held)
      return handed
    end
  end
  if release > 0 then
    let_go(thread)
    if #tubes > 0 then rarely().make_ready(thread, tubes) end
    return 2
  end
  held.first = held.last + 1
  if #tubes == 0 then held.since = '0' end
  store_hold(thread, held)
  return 1
end

promote()
local threads, is_settled, reply = {}, {}, {}
for at = 3, #ARGV, 8 do threads[#threads + 1] = ARGV[at] end
local held, tubes = records_of(HELD, threads), records_of(THREADS, threads)
for i, thread in ipairs(threads) do
  local at = 8 * i - 5
  local fence, priority, through, busy, release = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 6]
  if is_settled[thread] then -- for another lease on it: what was read is outdated
    write_ends()
    held[i], tubes[i] = redis.call('HGET', HELD, thread), redis.call('HGET', THREADS, thread)
  end
  is_settled[thread] = true
  if release ~= '0' and end_thread(held[i], tubes[i], thread, fence, priority, through, busy) then
    reply[i] = 2
  else
    reply[i] = settle(held[i], tubes[i], thread, fence, priority, tonumber(through), tonumber(busy),
      tonumber(ARGV[at + 5]), tonumber(release), ARGV[at + 7], room / (#threads - i + 1))
  end
end
write_ends()
if busy_us > 0 then try('HINCRBY', COUNTERS, 'busy_us', busy_us) end
finish()
return reply
