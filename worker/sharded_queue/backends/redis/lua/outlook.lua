#!lua flags=no-writes
-- How many threads of each of many shards wait for a worker, and how long it is until one becomes free by itself.
--
-- KEYS  of each shard its leases, its blocked threads, its delayed requests, its ready threads, what is to be unparked,
--       its counters, and the ends of its pauses
-- Returns per shard the number of threads, each delayed request that is due counted as one, and ms until the first of
-- these moments, 0 when it has come, -1 when there is none
--
-- A key of another kind is left to `bind`, which reports it.

local reply = {}
for at = 1, #KEYS, 7 do
  local waiting, soonest, any_blocked = 0, math.huge, false
  for place = at, at + 2 do
    local first = try('ZRANGE', KEYS[place], '0', '0', 'WITHSCORES')
    local moment = first and tonumber(first[2]) or math.huge
    if moment <= now then waiting = waiting + redis.call('ZCOUNT', KEYS[place], '-inf', now_text) end
    soonest = math.min(soonest, moment)
    any_blocked = any_blocked or place == at + 1 and first and #first > 0
  end
  for place = at + 3, at + 4 do waiting = waiting + (try('ZCARD', KEYS[place]) or 0) end
  local is_paused = waiting > 0 and try('HGET', KEYS[at + 5], 'paused')
  if is_paused or any_blocked then
    local first = try('ZRANGE', KEYS[at + 6], '0', '0', 'WITHSCORES')
    local moment = first and tonumber(first[2]) or math.huge
    if moment <= now then waiting, is_paused = waiting + 1, false end -- `bind` ends that pause
    soonest = math.min(soonest, moment)
  end
  if is_paused then waiting = 0 end
  reply[#reply + 1] = waiting
  reply[#reply + 1] = soonest < 1e14 and math.ceil(math.max(soonest - now, 0)) or -1
end
return reply
