#!lua flags=allow-oom
-- Delayed requests become due at another time.
--
-- KEYS  base, lock, caller
-- ARGV  call, the time in ms, how far ahead it may be in ms, bytes of all requests at most (or a single larger one),
--       then numbers, 500 at most
-- Returns {now, those that are due then}. Without any, nothing was delayed, or the time does not lie in these bounds. The
-- call ends early where the requests are too large: the others need another one.

local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local due, furthest = tonumber(table.remove(ARGV, 1)), tonumber(table.remove(ARGV, 1))
local room = tonumber(table.remove(ARGV, 1))

check_kinds()
follow_clock()
local moved = {}
if now < due and due <= now + furthest then
  for _, argument in ipairs(ARGV) do
    if room <= 0 then break end
    local number = string.format('%016d', argument)
    local text = redis.call('HGET', LATER, number) or ''
    room = room - #text
    if read_delayed(text) then
      redis.call('ZADD', DUE, end_of(DUE_WAITS, integer(due)), number)
      moved[#moved + 1] = argument
    end
  end
end
if #moved > 0 then woken = woken + 1 end -- waiting workers do not know yet when these are due
finish()
return store_answer(call, { now, moved })
