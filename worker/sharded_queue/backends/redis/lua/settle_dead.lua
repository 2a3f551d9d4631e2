#!lua flags=allow-oom
-- Put dead letters back into their tubes, or drop them.
--
-- KEYS  base, lock, caller
-- ARGV  call, 'head', 'tail' or 'drop', 1 if this is the first step of its threads, 1 if it is the last, bytes of all
--       letters at most (or a single larger one), who drops them and why ('' where nobody asks), then numbers, 500 at
--       most. Returns the numbers of those that were put back or dropped.
--
-- The call ends early where the letters are too large: the others need another one. Letters at the head of a tube are
-- before what a worker may have in hand, so they are put there only while no worker holds the thread. Where they come in
-- several steps, the thread is paused from the first step to the last, or a worker would begin with the latest letters.
-- A drop leaves one record, of no thread, whatever the number of its steps.

local REPLAY = 'its dead letters are being put back at its head'

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local target, is_first, is_last, room = ARGV[1], ARGV[2] == '1', ARGV[3] == '1', tonumber(ARGV[4])
local actor, reason = ARGV[5], ARGV[6]
local FIRST = 7

check_kinds()

-- The record of the steps before, without its number of letters; nil where the newest record is another one.
local function record_so_far()
  local record = not is_first and redis.call('LINDEX', DROPS, 0) or ''
  local head, count, first, tail = string.match(record, '^(%d+ %d+ 0 )(%d+)( %d+ )(.*)$')
  if head and tail == actor .. reason and string.find(head, ' ' .. #actor .. ' 0 ', 1, true) then
    return head, tonumber(count), first .. tail
  end
end

local function record_drop(done)
  local head, count, tail = record_so_far()
  if head then
    redis.call('LSET', DROPS, 0, head .. integer(count + #done) .. tail)
  else
    remember_drop(encode_drop(actor, '', done, reason))
  end
end

local function drop_letters()
  local done = {}
  for i = FIRST, #ARGV do
    if redis.call('HDEL', LETTERS, ARGV[i]) == 1 then
      redis.call('ZREM', DEAD, ARGV[i])
      done[#done + 1] = ARGV[i]
    end
  end
  if actor ~= '' and #done > 0 then record_drop(done) end
  return done
end

-- What is put back: by thread its tubes, and by priority the messages; the threads in their order; and the bytes of the
-- largest message.
local puts, order, most = {}, {}, 0

-- The tubes of a thread, and what is put into them; nil where nothing may be put there now.
local function put_into(thread)
  if puts[thread] then return puts[thread] end
  local till = blocked_until(thread)
  local is_stopped = is_withheld(till) and till ~= STOPPED -- a person may end that stop before the last step
  if target == 'head' and (held_of(thread) or not is_first and not is_stopped) then return nil end
  local tubes = tubes_of(thread)
  if not tubes then return nil end
  puts[thread] = { tubes = tubes, before = depth_of(tubes), is_stopped = is_stopped, messages = {}, priorities = {} }
  order[#order + 1] = thread
  return puts[thread]
end

-- Read a letter that can be put back; returns whether it can. One that cannot be read, or whose thread's record cannot
-- be read, can only be dropped.
local function is_put_back(letter, start)
  local thread, priority, message = read_letter(letter)
  if not thread or known_layout() == nil then return false end
  thread = thread_in_force(thread, message)
  local put = put_into(thread)
  if not put then return false end
  local tube, messages = tube_for(put.tubes, priority, start), put.messages[priority]
  if not messages then
    messages = {}
    put.messages[priority] = messages
    table.insert(put.priorities, priority)
  end
  messages[#messages + 1] = message
  if target == 'head' then tube.head = tube.head - 1 else tube.tail = tube.tail + 1 end
  depth_change = depth_change + 1
  most = math.max(most, #message)
  return true
end

-- The numbers of the letters that are put back, and whether all were looked at.
local function read_letters(sequence)
  local done = {}
  for i = FIRST, #ARGV do
    if room <= 0 then return done, false end
    local letter = redis.call('HGET', LETTERS, ARGV[i]) or ''
    if is_put_back(letter, sequence + 2 * #done + 1) then done[#done + 1] = ARGV[i] end
    room = room - #letter
  end
  return done, true
end

-- Pause a thread until the last step, and end that pause with it; returns whether it ended. A pause that a person set
-- stays; where it may end by itself before the last step, the thread is paused beside it.
local function switch(thread, put, is_over)
  local is_passing = put.is_stopped and redis.call('ZSCORE', RESUMES, thread)
  if is_over then
    return redis.call('HDEL', ACTS, thread) == 1 and not is_passing and unblock(thread) == 1
  elseif not put.is_stopped or is_passing then
    redis.call('HSET', ACTS, thread, REPLAY)
    redis.call('ZADD', BLOCKED, PAUSED, thread)
    redis.call('ZREM', READY, thread)
    redis.call('ZREM', PARKED, thread)
    any_blocked = true
  end
end

local function put_back(thread, put, is_over)
  for _, priority in ipairs(put.priorities) do
    local list = list_of(thread, priority)
    length_of(list)
    in_chunks(put.messages[priority], target == 'head' and 'LPUSH' or 'RPUSH', list)
    redis.call('ZADD', OLDEST, stamp_of(redis.call('LINDEX', list, 0)), thread .. '/' .. priority)
  end
  store_tubes(thread, put.tubes)
  index_depth(thread, put.before, depth_of(put.tubes))
  local is_resumed = target == 'head' and switch(thread, put, is_over)
  if is_resumed or put.before == 0 then return arrive(thread, put.tubes) end
  for _, priority in ipairs(put.priorities) do index_older(thread, priority) end
end

local function put_letters_back()
  if not is_numbered() then next_sequence(0) end
  local done, is_over = read_letters(tonumber(redis.call('HGET', COUNTERS, 'sequence') or 0))
  if #done == 0 then return done end
  next_sequence(most)
  redis.call('HINCRBY', COUNTERS, 'sequence', 2 * #done)
  for _, thread in ipairs(order) do put_back(thread, puts[thread], is_last and is_over) end
  in_chunks(done, 'HDEL', LETTERS)
  in_chunks(done, 'ZREM', DEAD)
  return done
end

local done = target == 'drop' and drop_letters() or put_letters_back()
finish()
return store_answer(call, done)
