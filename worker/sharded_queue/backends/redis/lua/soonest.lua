#!lua flags=no-writes
-- How long it is until a thread of any of many shards becomes free by itself.
--
-- KEYS  of each shard its leases, its blocked threads and its delayed requests
-- Returns ms until the first of these moments, 0 when it has come, -1 when there is none
--
-- A key of another kind is left to `bind`, which reports it.

local soonest = -1
for _, key in ipairs(KEYS) do
  local first = redis.pcall('ZRANGE', key, '0', '0', 'WITHSCORES')
  local score = not first.err and tonumber(first[2])
  if score and score < 1e14 then
    local left = math.max(score - now, 0)
    if soonest < 0 or left < soonest then soonest = left end
  end
end
return math.ceil(soonest)
