#!lua flags=allow-oom
-- Take waiting requests out of their tubes. They become dead letters, so that they can be put back; all others keep
-- their order. What is in a worker's hands stays.
--
-- KEYS  base, lock, caller
-- ARGV  call, thread, actor, reason, reason of the dead letters, requests of one call at most, bytes of their messages
--       at most (or a single larger one), requests between those that are named and the ends of their
--       tubes at most, ms of the latest request to drop ('' for now); then per request priority, sequence, SHA-1 of the
--       message: without any, all of the thread are meant
-- Returns {ms of the latest request to drop, 1 if some are left to drop by another call, requests in hand, dead letters,
--          places in ARGV, counted from 0, of requests in hand, of those that are not there, and of those that are too deep
--          in their tubes}
--
-- A request is named by its number and its message: the number alone may be another's by now. Requests behind one that
-- is dropped move up, and their numbers fall by one. Removing one takes Redis up to 2 ms per 100,000 requests between it
-- and the nearer end of its tube, so those that are deeper stay. A thread that stands still for a request without tries moves
-- again when that request is dropped.

local FIRST = 9

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
local thread, actor, reason, letter_reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local limit, room, reach, latest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]) or now

check_kinds()
local held, tubes = held_of(thread), tubes_of(thread)
if held and tubes and tonumber(redis.call('ZSCORE', LEASES, thread) or 0) <= now then -- as the next bind would
  expire(thread, math.huge) -- what becomes of a request that keeps killing workers is for that bind to say
  held, tubes = nil, tubes_of(thread)
end

local letters, in_hand, missing, deep = {}, {}, {}, {}

-- How many requests at the head of a tube its holder has in hand.
local function hand_of(tube)
  local is_in_hand = held and held.priority == tube.priority and held.first <= held.last
  return is_in_hand and math.max(0, held.last - tube.head + 1) or 0
end

-- The priorities of tubes, some of which may go meanwhile.
local function priorities_of(tubes)
  local priorities = {}
  for i, tube in ipairs(tubes) do priorities[i] = tube.priority end
  return priorities
end

-- The last occurrences of schedules that skip, in this thread: by priority, their names and numbers.
local occurrences
local function occurrences_of(priority)
  if occurrences then return occurrences[priority] or {} end
  occurrences = {}
  local found = redis.call('HGETALL', SKIPPING)
  for i = 1, #found, 2 do
    local sequence, of = string.match(found[i + 1], '^(%d+) (%-?%d+) ')
    if sequence and string.sub(found[i + 1], #sequence + #of + 3) == thread then
      occurrences[of] = occurrences[of] or {}
      table.insert(occurrences[of], { name = found[i], sequence = tonumber(sequence) })
    end
  end
  return occurrences[priority] or {}
end

-- How many of these numbers, which ascend, are below a number.
local function count_below(numbers, number)
  local first, last = 1, #numbers + 1
  while first < last do
    local middle = math.floor((first + last) / 2)
    if numbers[middle] < number then first = middle + 1 else last = middle end
  end
  return first - 1
end

-- Occurrences of schedules that skip move up with the others; those that are dropped wait no more.
local function renumber_occurrences(tube, places)
  local moved = {}
  for _, last in ipairs(occurrences_of(tube.priority)) do
    local place = last.sequence - tube.head
    local fallen = place >= 0 and count_below(places, place) or 0
    local is_dropped = places[fallen + 1] == place
    if is_dropped or fallen > 0 then
      moved[#moved + 1] = last.name
      moved[#moved + 1] = is_dropped and '' or integer(last.sequence - fallen) .. ' ' .. tube.priority .. ' ' .. thread
    end
  end
  in_chunks(moved, 'HSET', SKIPPING)
end

-- Remove the requests at these places, none of which is the first, from tube number i.
local function remove_behind(tubes, i, places)
  local tube, before, list = tubes[i], depth_of(tubes), list_of(thread, tubes[i].priority)
  renumber_occurrences(tube, places)
  for n = #places, 1, -1 do clear_removed(thread, tube.priority, tube.head + places[n]) end
  local length, mark = tube.tail - tube.head, 'dropped by call ' .. call .. ' of ' .. KEYS[3]
  tube.tail = tube.tail - #places
  depth_change = depth_change - #places
  store_tubes(thread, tubes)
  index_depth(thread, before, before - #places)
  local early = 0
  for _, place in ipairs(places) do
    redis.call('LSET', list, place, mark)
    if 2 * place <= length then early = early + 1 end
  end
  if early > 0 then redis.call('LREM', list, early, mark) end
  if early < #places then redis.call('LREM', list, early - #places, mark) end
end

-- Requests of a tube become dead letters: `messages` by their places in it, which ascend.
local function take_out(priority, places, messages)
  local tube, failure = tubes[position_of(tubes, priority)], failure_of(thread, priority)
  for n, place in ipairs(places) do
    local sequence = tube.head + place
    local attempts = failure and sequence == failure.sequence and failure.attempts + failure.crashes or 0
    letters[#letters + 1] = bury(thread, priority, sequence, attempts, letter_reason, messages[n])
  end
  local first, behind = 0, {}
  for n, place in ipairs(places) do
    if place == n - 1 then first = n else behind[#behind + 1] = place end
  end
  if #behind > 0 then remove_behind(tubes, position_of(tubes, priority), behind) end
  if first > 0 then pop_requests(thread, tubes, position_of(tubes, priority), first) end
end

-- Where a request waits, with its message: nil where it is not there.
local function found_at(tube, sequence, digest)
  local place = tube and sequence - tube.head
  if not place or place < 0 or sequence >= tube.tail then return nil end
  local message = try('LINDEX', list_of(thread, tube.priority), place)
  if message and redis.sha1hex(message) == digest then return place, message end
end

-- The named requests, by priority.
local function named()
  local found, known = {}, {}
  for at = FIRST, #ARGV, 3 do
    local tube = tubes[position_of(tubes, ARGV[at])]
    local place, message = found_at(tube, tonumber(ARGV[at + 1]), ARGV[at + 2])
    local name = place and ARGV[at] .. ' ' .. place
    if not place then
      missing[#missing + 1] = (at - FIRST) / 3
    elseif place < hand_of(tube) then
      in_hand[#in_hand + 1] = (at - FIRST) / 3
    elseif not known[name] then
      known[name] = true
      found[ARGV[at]] = found[ARGV[at]] or {}
      table.insert(found[ARGV[at]], { place = place, message = message, argument = (at - FIRST) / 3 })
    end
  end
  return found
end

-- How many requests of a tube are between these, which ascend, and its nearer ends.
local function reach_of(requests, tube)
  local length, from_head, from_tail = tube.tail - tube.head, 0, 0
  for _, request in ipairs(requests) do
    if 2 * request.place <= length then
      from_head = request.place
    else
      from_tail = math.max(from_tail, length - request.place)
    end
  end
  return from_head + from_tail
end

local function drop_named()
  local found = named()
  for _, priority in ipairs(priorities_of(tubes)) do
    local requests, places, messages = found[priority] or {}, {}, {}
    table.sort(requests, function(one, other) return one.place < other.place end)
    local needed = reach_of(requests, tubes[position_of(tubes, priority)])
    for n, request in ipairs(requests) do
      if needed > reach then
        deep[#deep + 1] = request.argument
      else
        places[n], messages[n] = request.place, request.message
      end
    end
    reach = reach - (needed > reach and 0 or needed)
    take_out(priority, places, messages)
  end
end

-- Drop all that were registered by then, as many as one call may; returns whether some are left.
local function drop_all()
  for _, priority in ipairs(priorities_of(tubes)) do
    local tube = tubes[position_of(tubes, priority)]
    local hand, places = hand_of(tube), {}
    local waiting = tube.tail - tube.head - hand
    if waiting > 0 and (limit < 1 or room < 1) then return true end
    local messages = messages_from(list_of(thread, priority), hand, math.min(waiting, limit), room)
    for n, message in ipairs(messages) do
      if tonumber(stamp_of(message)) > latest then break end
      places[n], room = hand + n - 1, room - #message
    end
    limit = limit - #places
    take_out(priority, places, messages)
    if #places == #messages and #messages < waiting and #messages > 0 then return true end
  end
  return false
end

local is_left, hands = false, 0
if not tubes then
  for at = FIRST, #ARGV, 3 do missing[#missing + 1] = (at - FIRST) / 3 end
else
  if #ARGV < FIRST then is_left = drop_all() else drop_named() end
  for _, tube in ipairs(tubes) do hands = hands + hand_of(tube) end
end

-- Whether the request for which the thread stands still is gone: what is noted of a request goes with it.
local function is_stop_over()
  local priority = exhausted_of(thread)
  local failure = priority and failure_of(thread, priority)
  return priority and (not failure or failure.reason == '')
end

if #letters > 0 then
  if is_stop_over() and end_stop(thread) then make_ready(thread, tubes) end
  if #tubes == 0 then
    redis.call('ZREM', READY, thread)
    redis.call('ZREM', PARKED, thread)
    if held then
      held.since = '0'
      store_hold(thread, held)
    end
  end
  remember_drop(encode_drop(actor, thread, letters, reason))
end
finish()
return store_answer(call, { latest, is_left and 1 or 0, hands, letters, in_hand, missing, deep })
