#!lua
-- Spread keys over another number of threads. New threads wait for the old ones that they may share keys with.
--
-- KEYS  base, lock, caller
-- ARGV  call, threads
-- Returns {1 if that changed something, 0 if it is so already, -1 if the change before is not finished, number and threads
--          of the layout in force, old threads that are not drained}

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local threads = tonumber(ARGV[1])
check_kinds()

local function answer(changed, number, in_force)
  return store_answer(call, { changed, number, in_force, redis.call('ZCARD', OLD) })
end

if not layout_in_force() then
  redis.call('SET', LAYOUT, '1 ' .. threads .. ' 0')
  return answer(1, 1, threads)
end
if layout.threads == threads then return answer(0, layout.number, threads) end
if redis.call('EXISTS', OLD, UNPARKING) > 0 then return answer(-1, layout.number, layout.threads) end

local step = common_divisor(threads, layout.threads)
for place = 0, layout.threads - 1 do
  local thread = layout.number .. ':' .. place
  if redis.call('HEXISTS', THREADS, thread) == 1 then redis.call('ZADD', OLD, place % step, thread) end
end
redis.call('SET', LAYOUT, layout.number + 1 .. ' ' .. threads .. ' ' .. layout.threads)
return answer(1, layout.number + 1, threads)
