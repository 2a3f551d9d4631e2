#!lua flags=allow-oom
-- Delayed requests join the tails of their tubes now, in the order of ARGV, and count as registered now.
--
-- KEYS  base, lock, caller
-- ARGV  call, stamp, tolerance ms: the time by the caller's clock, where it differs by no more from ours; numbers
-- Returns those that are in their tubes because of this call. One that is not delayed any more is left alone.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local moment = moment_by(table.remove(ARGV, 1), table.remove(ARGV, 1))
check_kinds()
layout_in_force()
if not is_numbered() then next_sequence(0) end
local ripe, joined = {}, {}
for _, argument in ipairs(ARGV) do
  local number = string.format('%016d', argument)
  if read_delayed(redis.call('HGET', LATER, number) or '') then
    ripe[#ripe + 1], joined[#joined + 1] = number, argument
  end
end
for _, number in ipairs(ripe) do redis.call('ZADD', DUE, moment, number) end
promote_ripe(ripe)
finish()
return store_answer(call, joined)
