#!lua flags=allow-oom
-- Put dead letters back into their tubes, or drop them.
--
-- KEYS  base, lock, caller
-- ARGV  call, 'head', 'tail' or 'drop', then numbers. Returns the numbers of those that were put back or dropped.
--
-- A letter at the head of a tube is before what a worker may have in hand, so it is put there only while no worker
-- holds the thread.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local target = ARGV[1]
local done = {}

local function put_back(thread, priority, message, tubes)
  length_of(list_of(thread, priority))
  local before = depth_of(tubes)
  local start = next_sequence(#message) + 1
  local tube = tube_for(tubes, priority, start)
  if target == 'head' then
    tube.head = tube.head - 1
    redis.call('LPUSH', list_of(thread, priority), message)
  else
    tube.tail = tube.tail + 1
    redis.call('RPUSH', list_of(thread, priority), message)
  end
  redis.call('HINCRBY', COUNTERS, 'sequence', 2)
  redis.call('ZADD', OLDEST, stamp_of(redis.call('LINDEX', list_of(thread, priority), 0)), thread .. '/' .. priority)
  depth_change = depth_change + 1
  store_tubes(thread, tubes)
  index_depth(thread, before, before + 1)
  if before == 0 then arrive(thread, tubes) else index_older(thread, priority) end
end

-- Put a letter back if that is possible; returns whether it was. A letter that cannot be read, or whose thread's record
-- cannot be read, can only be dropped.
local function is_put_back(letter)
  local thread, priority, message = read_letter(letter)
  if not thread or known_layout() == nil then return false end
  thread = thread_in_force(thread, message)
  local tubes = tubes_of(thread)
  if not tubes or target == 'head' and held_of(thread) then return false end
  put_back(thread, priority, message, tubes)
  return true
end

check_kinds()
if target ~= 'drop' and not is_numbered() then next_sequence(0) end
for i = 2, #ARGV do
  local letter = redis.call('HGET', LETTERS, ARGV[i])
  if letter and (target == 'drop' or is_put_back(letter)) then
    redis.call('HDEL', LETTERS, ARGV[i])
    redis.call('ZREM', DEAD, ARGV[i])
    done[#done + 1] = ARGV[i]
  end
end
finish()
return store_answer(call, done)
