#!lua flags=allow-oom
-- Put the indices and counters of a shard right, from its lists and its records, at a cost of O(everything). Where all
-- is true nothing is written, so a second call changes nothing.
--
-- ARGV  thread, priority of every list that was found in Redis and is not in the index
-- Returns {index, member, was, is} for each change, '' for what is not there
--
-- One atomic step, so workers may go on meanwhile. A lease is taken only where the numbers in its holder's hands no
-- longer name requests of its tube: to settle them would remove others.

local changes = {}

local function note(index, member, was, is)
  changes[#changes + 1] = { index, member, was or '', is or '' }
end

local function keep_field(index, key, field, was, is)
  if was == is then return end
  note(index, field, was, is)
  if is then redis.call('HSET', key, field, is) else redis.call('HDEL', key, field) end
end

-- A sorted set has the members of `truth` and no others. A score must be the true one, unless `any_score` says that it
-- holds what nothing else knows: then it is only made up where it is missing.
local function keep_ranking(index, key, truth, any_score)
  local scores = {}
  local flat = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #flat, 2 do
    local member, score = flat[i], flat[i + 1]
    scores[member] = score
    if not truth[member] then
      note(index, member, score)
      redis.call('ZREM', key, member)
    end
  end
  for member, is in pairs(truth) do
    local was = scores[member]
    if not was or (not any_score and tonumber(was) ~= is) then
      note(index, member, was, whole(is))
      redis.call('ZADD', key, is, member)
    end
  end
end

-- A mark is never below what was given out under it.
local function keep_mark(name, least)
  local was = tonumber(redis.call('HGET', COUNTERS, name))
  if least > 0 and (not was or was < least) then
    keep_field('counters', COUNTERS, name, was and whole(was), whole(least))
  end
end

local function fields_of(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local records = fields_of(THREADS)

-- thread -> priority -> the index's record of the tube, or false where only its list is known.
local function known_tubes()
  local known = {}
  for i = 1, #ARGV, 2 do
    known[ARGV[i]] = known[ARGV[i]] or {}
    known[ARGV[i]][ARGV[i + 1]] = false
  end
  for thread, text in pairs(records) do
    known[thread] = known[thread] or {}
    for _, tube in ipairs(read_tubes(text)) do known[thread][tube.priority] = tube end
  end
  return known
end

local known = known_tubes()
local holds_now, delayed, letters = fields_of(HELD), fields_of(LATER), fields_of(LETTERS)
local firsts, schedules = fields_of(FIRSTS), fields_of(SCHEDULES)

-- One above every number that is in use, or that a holder may name.
local function next_number()
  local number = tonumber(redis.call('HGET', COUNTERS, 'sequence')) or 0
  for _, tubes in pairs(known) do
    for _, tube in pairs(tubes) do
      if tube then number = math.max(number, tube.tail) end
    end
  end
  for thread in pairs(holds_now) do number = math.max(number, (held_of(thread).last or -1) + 1) end
  for due in pairs(delayed) do number = math.max(number, tonumber(due) + 1) end
  for _, first in pairs(firsts) do number = math.max(number, tonumber(string.match(first, '^%d+')) + 1) end
  return number
end

local sequence = next_number()

local function is_in_hand(held, priority)
  return held and held.fence and held.priority == priority and held.first <= held.last
end

-- The tubes of a thread are the lists that there are; the index says the number of the first request. Where it does
-- not, that is what its holder has in hand, or a number that nothing had.
local function true_tubes(thread)
  local tubes, held = {}, holds_now[thread] and held_of(thread)
  for priority, tube in pairs(known[thread]) do
    local length = redis.call('LLEN', list_of(thread, priority))
    if length > 0 then
      local head = tube and tube.head or is_in_hand(held, priority) and held.first or sequence
      tubes[#tubes + 1] = { priority = priority, head = head, tail = head + length,
                            is_cut = tube and length < tube.tail - tube.head }
      sequence = math.max(sequence, head + length)
    end
  end
  table.sort(tubes, function(one, other) return tonumber(one.priority) < tonumber(other.priority) end)
  return tubes
end

local depth, oldest, deep, ready, leases = 0, {}, {}, {}, {}

local function note_indices(thread, tubes)
  local first
  for _, tube in ipairs(tubes) do
    local stamp = tonumber(stamp_of(redis.call('LINDEX', list_of(thread, tube.priority), 0)))
    oldest[thread .. '/' .. tube.priority] = stamp
    first = math.min(first or stamp, stamp)
  end
  local count = depth_of(tubes)
  depth = depth + count
  if count >= 2 then deep[thread] = count end
  if count > 0 then ready[thread] = first end
end

-- What is held stays held, as long as what is in hand is what the tube begins with.
local function is_sound(held, tubes)
  if not held.fence then return false end
  if held.last < held.first then return true end
  for _, tube in ipairs(tubes) do
    if tube.priority == held.priority then
      return tube.head == held.first and held.last < tube.tail and not tube.is_cut
    end
  end
  return false
end

local function right_hold(thread, tubes)
  local was, held = holds_now[thread], held_of(thread)
  if not is_sound(held, tubes) then
    keep_field('held', HELD, thread, was)
    return
  end
  leases[thread] = now + tonumber(held.lease)
  if #tubes == 0 and held.since ~= '0' then
    held.since = '0'
    keep_held(thread, held)
  elseif #tubes > 0 and held.since == '0' then
    arrive(thread, tubes)
  end
  local is = redis.call('HGET', HELD, thread)
  if is ~= was then note('held', thread, was, is) end
end

local tubes_in = {}
for thread in pairs(known) do
  local tubes = true_tubes(thread)
  tubes_in[thread] = tubes
  keep_field('threads', THREADS, thread, records[thread], spelled(tubes))
  note_indices(thread, tubes)
end

local fence = 0
for thread in pairs(holds_now) do
  fence = math.max(fence, tonumber(held_of(thread).fence) or 0)
  right_hold(thread, tubes_in[thread] or {})
end

for name, was in pairs(fields_of(TROUBLE)) do
  local thread, priority = string.match(name, '^(.*)/(%-?%d+)$')
  local trouble, is = thread and trouble_of(thread, priority), nil
  for _, tube in ipairs(trouble and trouble.sequence and tubes_in[thread] or {}) do
    local is_inside = tube.head <= trouble.sequence and trouble.sequence <= trouble.last and trouble.last < tube.tail
    if tube.priority == priority and is_inside then is = was end
  end
  keep_field('trouble', TROUBLE, name, was, is)
end

-- A thread is held, or put off, or ready; a pause may last beside a hold.
local blocked = redis.call('ZRANGE', BLOCKED, 0, -1, 'WITHSCORES')
for i = 1, #blocked, 2 do
  local thread, till = blocked[i], blocked[i + 1]
  if leases[thread] and till ~= 'inf' then
    note('blocked', thread, till)
    redis.call('ZREM', BLOCKED, thread)
  end
  ready[thread] = nil
end
for thread in pairs(leases) do ready[thread] = nil end

local due, dead, last_letter = {}, {}, 0
for number in pairs(delayed) do due[number] = now end
for number in pairs(letters) do
  dead[number] = now
  last_letter = math.max(last_letter, tonumber(number))
end

-- Threads of the layout before that have requests are not drained; those of the layout in force that may share keys with
-- them wait, and so do those that a bind is about to make ready.
local function place_in(thread, number)
  local place = layout_in_force() and string.match(thread, '^' .. number .. ':(%d+)$')
  return place and tonumber(place) % layout.step
end

local old, parked, opened, is_closed = {}, {}, {}, {}
for thread, tubes in pairs(tubes_in) do
  local residue = layout_in_force() and layout.before > 0 and #tubes > 0 and place_in(thread, layout.number - 1)
  if residue then old[thread], is_closed[residue] = residue, true end
end
for _, residue in ipairs(redis.call('ZRANGE', OPENED, 0, -1)) do
  residue = tonumber(residue)
  if not is_closed[residue] then opened[residue] = true end -- also with nobody parked: the next bind closes it
end
for thread in pairs(ready) do
  local residue = layout_in_force() and place_in(thread, layout.number)
  if residue and (is_closed[residue] or opened[residue]) then parked[thread] = residue end
end
for thread in pairs(parked) do ready[thread] = nil end

local found = #changes
keep_ranking('ready', READY, ready, true)
if #changes > found then woken = WAKE_LIMIT end
keep_ranking('old', OLD, old)
keep_ranking('parked', PARKED, parked)
for _, residue in ipairs(redis.call('ZRANGE', OPENED, 0, -1)) do
  if not opened[tonumber(residue)] then
    note('opened', residue, residue)
    redis.call('ZREM', OPENED, residue)
  end
end
keep_ranking('leases', LEASES, leases, true)
keep_ranking('oldest', OLDEST, oldest)
keep_ranking('deep', DEEP, deep)
keep_ranking('due', DUE, due, true)
keep_ranking('dead', DEAD, dead, true)

-- An identity that lost its window, or its first request, keeps nobody out.
for identity, was in pairs(firsts) do
  if not redis.call('ZSCORE', IDENTITIES, identity) then
    keep_field('firsts', FIRSTS, identity, was)
    firsts[identity] = nil
  end
end
keep_ranking('identities', IDENTITIES, firsts, true)

-- A schedule that lost its time occurs now, and then as its timing says.
for name in pairs(schedules) do schedules[name] = now end
keep_ranking('occurrences', OCCURRENCES, schedules, true)

local counted = redis.call('HGET', COUNTERS, 'depth')
if (tonumber(counted) or 0) ~= depth then keep_field('counters', COUNTERS, 'depth', counted, whole(depth)) end
keep_mark('sequence', sequence)
keep_mark('fence', fence)
keep_mark('dead', last_letter)
if sequence > 0 and redis.call('HEXISTS', COUNTERS, 'born') == 0 then
  keep_field('counters', COUNTERS, 'born', false, whole(now_us))
end
finish()
return changes
