#!lua flags=allow-oom
-- Delayed requests join the tails of their tubes now, in the order of ARGV, and count as registered now.
--
-- KEYS  base, lock, caller
-- ARGV  call, stamp, tolerance ms: the time by the caller's clock, where it differs by no more from ours; bytes of all
--       requests at most (or a single larger one), then numbers, 500 at most
-- Returns those that are in their tubes because of this call. One that is not delayed any more is left alone. The call
-- ends early where the requests are too large: the others need another one.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local moment = moment_by(table.remove(ARGV, 1), table.remove(ARGV, 1))
local room = tonumber(table.remove(ARGV, 1))
check_kinds()
layout_in_force()
if not is_numbered() then next_sequence(0) end
local ripe, joined = {}, {}
for _, argument in ipairs(ARGV) do
  if room <= 0 then break end
  local number = string.format('%016d', argument)
  local text = redis.call('HGET', LATER, number) or ''
  if read_delayed(text) then ripe[#ripe + 1], joined[#joined + 1] = number, argument end
  room = room - #text
end
for _, number in ipairs(ripe) do redis.call('ZADD', DUE, moment, number) end
promote_ripe(ripe, math.huge)
finish()
return store_answer(call, joined)
