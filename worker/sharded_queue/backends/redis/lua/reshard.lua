#!lua
-- Spread keys over another number of threads. New threads wait for the old ones that they may share keys with.
--
-- KEYS  base, lock, caller
-- ARGV  call, threads
-- Returns {1 if that changed something, 0 if it is so already, -1 if the change before is not finished, number and threads
--          of the layout in force, old threads that are not drained, threads of the previous layout not looked at}
--
-- The change itself is one step. After it, old threads are listed in steps, by calls of this script and by binds; until a
-- residue class is listed, its new threads wait.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local threads = tonumber(ARGV[1])
check_kinds()

local function answer(changed, unlisted)
  finish()
  return store_answer(call, { changed, layout.number, layout.threads, redis.call('ZCARD', OLD), unlisted })
end

local function put_in_force(number, before)
  redis.call('SET', LAYOUT, number .. ' ' .. threads .. ' ' .. before)
  layout = { number = number, threads = threads, before = before }
end

if not layout_in_force() then
  put_in_force(1, 0)
  return answer(1, 0)
end
local unlisted = list_old()
if layout.threads == threads then return answer(0, unlisted) end
if redis.call('EXISTS', OLD, UNPARKING) > 0 then return answer(-1, unlisted) end
redis.call('ZADD', UNPARKING, -layout.threads, UNLISTED)
put_in_force(layout.number + 1, layout.threads)
return answer(1, list_old())
