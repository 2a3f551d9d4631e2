#!lua flags=allow-oom
-- Cancel delayed requests, and free their identities. ARGV  numbers, 500 at most
--
-- Returns those that were cancelled, by this call or by one of the last ten minutes, so that a call that is sent again gets
-- the same answer. A request that is in its tube already, or never existed, cannot be cancelled.

local REMEMBERED = 600000

check_format()
check_kinds()
local over = redis.call('ZRANGEBYSCORE', CANCELLED, '-inf', now - REMEMBERED, 'LIMIT', 0, SWEEP + #ARGV)
local found, known, cancelled = {}, {}, {}

-- A request that is registered again must not be left out because of one that will never be handled. By now, another
-- request may have the identity.
local function free_identity(number)
  local identity = redis.call('HGET', NAMED, number)
  if not identity then return end
  redis.call('HDEL', NAMED, number)
  if tonumber(string.match(redis.call('HGET', FIRSTS, identity) or '', '^%d+')) ~= tonumber(number) then return end
  redis.call('HDEL', FIRSTS, identity)
  redis.call('ZREM', IDENTITIES, identity)
end

for i, argument in ipairs(ARGV) do
  found[i] = string.format('%016d', argument)
  known[i] = redis.call('ZSCORE', CANCELLED, found[i])
end
for i, number in ipairs(found) do
  if redis.call('HDEL', LATER, number) == 1 then
    redis.call('ZREM', DUE, number)
    redis.call('HDEL', QUARANTINE, 'delayed ' .. number)
    free_identity(number)
    redis.call('ZADD', CANCELLED, now, number)
    known[i] = true
  end
  if known[i] then cancelled[#cancelled + 1] = ARGV[i] end
end
in_chunks(over, 'ZREM', CANCELLED)
redis.call('PEXPIRE', CANCELLED, REMEMBERED)
return cancelled
