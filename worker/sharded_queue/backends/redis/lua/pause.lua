#!lua flags=allow-oom
-- Withhold a handler's or a thread's requests, or give them out again. What is in a worker's hands is finished.
--
-- KEYS  base, lock, caller
-- ARGV  call, thread ('' for the whole handler), 1 to pause or 0 to resume, who pauses it and why, both '' where nobody
--       says, ms until it is resumed by itself, '' for never. Returns 1 if that changed something.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local thread, actor, reason, lasts = ARGV[1], ARGV[3], ARGV[4], ARGV[5]

local function withhold_thread()
  -- An act goes on below a pause that may end before it.
  local is_of_an_act = redis.call(lasts == '' and 'HDEL' or 'HEXISTS', ACTS, thread) == 1
  local changed = redis.call('ZSCORE', BLOCKED, thread) == PAUSED and not is_of_an_act and 0 or 1
  redis.call('ZADD', BLOCKED, PAUSED, thread)
  redis.call('HDEL', QUARANTINE, 'thread ' .. thread) -- a repair does not end a pause
  redis.call('ZREM', READY, thread)
  redis.call('ZREM', PARKED, thread)
  return changed
end

-- A pause of which nobody says anything leaves that of a person as it is.
local function record(changed)
  if actor == '' and changed == 0 then return end
  redis.call('ZREM', RESUMES, thread)
  redis.call('HDEL', PAUSES, thread)
  if actor == '' then return end
  local ends = lasts ~= '' and integer(now + tonumber(lasts)) or '-'
  redis.call('HSET', PAUSES, thread, now_text .. ' ' .. ends .. ' ' .. string.len(actor) .. ' ' .. actor .. reason)
  if lasts ~= '' then
    redis.call('ZADD', RESUMES, ends, thread)
    woken = woken + 1 -- a worker that waits is to know of the end
  end
end

local function withhold()
  local changed = thread == '' and redis.call('HSETNX', COUNTERS, 'paused', integer(now)) or thread ~= '' and withhold_thread()
  record(changed)
  return changed
end

check_kinds()
local changed = ARGV[2] == '1' and withhold() or ARGV[2] ~= '1' and resume(thread)
finish()
return store_answer(call, changed)
