#!lua flags=allow-oom
-- Withhold a handler's or a thread's requests, or give them out again. What is in a worker's hands is finished.
--
-- KEYS  base, lock, caller
-- ARGV  call, thread ('' for the whole handler), 1 to pause or 0 to resume, who pauses it and why, both '' where nobody
--       says. Returns 1 if that changed something.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local thread, pausing = ARGV[1], ARGV[2] == '1'
local changed

check_kinds()
if thread == '' then
  changed = pausing and redis.call('HSETNX', COUNTERS, 'paused', integer(now)) or redis.call('HDEL', COUNTERS, 'paused')
  if not pausing then woken = WAKE_LIMIT end
elseif pausing then
  local was_of_an_act = redis.call('HDEL', ACTS, thread) == 1
  changed = redis.call('ZSCORE', BLOCKED, thread) == PAUSED and not was_of_an_act and 0 or 1
  redis.call('ZADD', BLOCKED, PAUSED, thread)
  redis.call('HDEL', QUARANTINE, 'thread ' .. thread) -- a repair does not end a pause
  redis.call('ZREM', READY, thread)
  redis.call('ZREM', PARKED, thread)
else
  changed = redis.call('ZREM', BLOCKED, thread)
  redis.call('HDEL', ACTS, thread)
  redis.call('HDEL', QUARANTINE, 'thread ' .. thread)
  if not held_of(thread) then make_ready(thread, tubes_of(thread)) end
end
if pausing and ARGV[3] ~= '' then
  redis.call('HSET', PAUSES, thread, now_text .. ' ' .. string.len(ARGV[3]) .. ' ' .. ARGV[3] .. ARGV[4])
elseif not pausing or changed == 1 then
  redis.call('HDEL', PAUSES, thread)
end
finish()
return store_answer(call, changed)
