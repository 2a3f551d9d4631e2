#!lua flags=allow-oom
-- Put the indices and counters of a shard right, from its lists and its records, at a cost of O(everything). Nothing is
-- written where all is true, so a second call changes nothing.
--
-- KEYS  base, lock, caller
-- ARGV  call, then thread and priority of every list that was found in Redis and is not in the index
-- Returns {index, member, before, after} for each change, '' for what is absent
--
-- One atomic step, so workers may go on meanwhile. A lease is taken away only where the numbers in its holder's hands
-- no longer name requests of its tube: settling them would remove others.

-- What was changed so far.
local changes = {}
-- thread -> record of its tubes; thread -> priority -> tube, or false where only its list is known; thread -> its tubes
-- as they are now
local records, known, tubes_in
-- The readable fields of these hashes.
local holds, delayed, letters, schedules, firsts, history
-- What the indices should be. `sequence` is above every number in use.
local depth, oldest, deep, ready, leases, sequence, fence, last_letter = 0, {}, {}, {}, {}, 0, 0, 0

local function add_change(index, member, was, is)
  changes[#changes + 1] = { index, member, was or '', is or '' }
end

-- Keys of another kind.

local function kind_of(key)
  return redis.call('TYPE', key).ok
end

local function has_layout_threads()
  local threads = try('HKEYS', THREADS) or {}
  for i = 1, #ARGV, 2 do threads[#threads + 1] = ARGV[i] end
  for _, thread in ipairs(threads) do
    if string.find(thread, '^%d+:%d+$') then return true end
  end
  return false
end

-- Without the layout it is unknown which requests must wait for which others. Where threads of a layout exist, a person
-- has to write it.
local function remove_unreadable_layout()
  if kind_of(LAYOUT) == 'none' or kind_of(LAYOUT) == 'string' and known_layout() ~= nil then return end
  if has_layout_threads() then error({ err = 'GARBAGE ' .. LAYOUT .. ' holds no layout' }) end
  add_change('layout', LAYOUT, 'no layout')
  redis.call('DEL', LAYOUT)
  layout = false
end

-- A value of another kind took the place of ours: it goes, and is made anew from the rest.
local function remove_other_kind(name, key, kind)
  local is = kind_of(key)
  if is == kind or is == 'none' then return end
  add_change(name, key, is)
  redis.call('DEL', key)
end

local function remove_other_kinds()
  for kind, keys in pairs(keys_by_kind()) do
    for _, key in ipairs(keys) do
      if key ~= LAYOUT then remove_other_kind(string.match(key, ':(%a+)$'), key, kind) end
    end
  end
end

-- Fields and indices.

local function fields_of(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local function set_field(index, key, field, was, is)
  if was == is then return end
  add_change(index, field, was, is)
  if is then redis.call('HSET', key, field, is) else redis.call('HDEL', key, field) end
end

-- Whether a score can be a time, a number of requests or a residue class.
local function is_moment(score)
  return tonumber(score) >= 0 and tonumber(score) < FIRST_LONG_MOMENT
end

-- Give a sorted set the members of `truth` and no others. A score must be the true one, unless `any_score` says that
-- nothing else knows it: then it is only made up where it is missing.
local function set_index(index, key, truth, any_score)
  local scores = {}
  local flat = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #flat, 2 do
    local member, score = flat[i], flat[i + 1]
    scores[member] = score
    if not truth[member] then
      add_change(index, member, score)
      redis.call('ZREM', key, member)
    end
  end
  for member, is in pairs(truth) do
    local was = scores[member]
    if not was or (not any_score and tonumber(was) ~= is) or not is_moment(was) then
      add_change(index, member, was, integer(is))
      redis.call('ZADD', key, is, member)
    end
  end
end

local function remove_unreadable_counters()
  for _, name in ipairs({ 'depth', 'registered', 'duplicates', 'settled', 'dead', 'busy_us', 'sequence', 'fence', 'born',
                          'reconciled', 'polled', 'largest', 'latest', 'format' }) do
    local was = redis.call('HGET', COUNTERS, name)
    local is_number = was and string.find(was, '^%d+$') and is_integer(tonumber(was))
    if was and not is_number then set_field('counters', COUNTERS, name, was) end
  end
end

-- What is in quarantine is made anew, or goes. Release 1.0.0 blocked such a thread as if it were paused.
local function empty_quarantine()
  for name, reason in pairs(fields_of(QUARANTINE)) do
    set_field('quarantine', QUARANTINE, name, reason)
    local thread = string.match(name, '^thread (.*)$')
    local till = thread and redis.call('ZSCORE', BLOCKED, thread)
    if till then
      add_change('blocked', thread, till)
      redis.call('ZREM', BLOCKED, thread)
    end
  end
end

-- Records.

-- A name that cannot be read, with its bytes above 127 escaped.
local function readable(name)
  if is_text(name) then return name end
  return (string.gsub(name, '[\128-\255]', function(byte) return string.format('\\x%02x', string.byte(byte)) end))
end

-- The lists of a thread whose name cannot be read get a readable name. Where that is taken, a person has to decide.
local function rename_list(thread, priority)
  local from, to = list_of(thread, priority), list_of(readable(thread), priority)
  if from ~= to and redis.call('EXISTS', from) == 1 and redis.call('RENAMENX', from, to) == 1 then
    add_change('list', from, from, to)
  end
  return readable(thread)
end

local function read_threads()
  records, known = fields_of(THREADS), {}
  for i = 1, #ARGV, 2 do
    local thread = rename_list(ARGV[i], ARGV[i + 1])
    known[thread] = known[thread] or {}
    known[thread][ARGV[i + 1]] = false
  end
  for thread, text in pairs(records) do
    local name = readable(thread)
    known[name] = known[name] or {}
    for _, tube in ipairs(read_tubes(text) or {}) do
      rename_list(thread, tube.priority)
      known[name][tube.priority] = tube
    end
    if name ~= thread then set_field('threads', THREADS, thread, text) end
  end
  for thread in pairs(records) do
    if readable(thread) ~= thread then records[thread] = nil end
  end
end

-- The fields of a hash that `is_readable`; the others go.
local function readable_fields(name, key, is_readable)
  local fields = fields_of(key)
  for field, was in pairs(fields) do
    if not is_readable(was, field) then
      set_field(name, key, field, was)
      fields[field] = nil
    end
  end
  return fields
end

local function read_records()
  local function is_number(field) return string.find(field, '^%d+$') and is_integer(tonumber(field)) end
  holds = readable_fields('held', HELD, read_hold)
  delayed = readable_fields('later', LATER, function(text, number) return is_number(number) and read_delayed(text) end)
  letters = readable_fields('letters', LETTERS, function(text, number) return is_number(number) and read_letter(text) end)
  schedules = readable_fields('schedules', SCHEDULES, function(_, name) return schedule_of(name) end)
  history = readable_fields('history', HISTORY, read_history)
  firsts = readable_fields('firsts', FIRSTS, function(text)
    return is_integer(tonumber(string.match(text, '^(%d+) %-?%d+ .')))
  end)
end

-- One above every number that is in use, or that a holder may name.
local function next_number()
  local number = tonumber(redis.call('HGET', COUNTERS, 'sequence')) or 0
  for _, tubes in pairs(known) do
    for _, tube in pairs(tubes) do
      if tube then number = math.max(number, tube.tail) end
    end
  end
  for thread in pairs(holds) do number = math.max(number, held_of(thread).last + 1) end
  for due in pairs(delayed) do number = math.max(number, tonumber(due) + 1) end
  for _, first in pairs(firsts) do number = math.max(number, tonumber(string.match(first, '^%d+')) + 1) end
  return number
end

-- Threads and their tubes.

local function is_in_hand(held, priority)
  return held and held.priority == priority and held.first <= held.last
end

-- The tubes of a thread are the lists that exist; the index says the number of the first request. Where it does not,
-- that is what its holder has in hand, or a number that was never given.
local function true_tubes(thread)
  local tubes, held = {}, holds[thread] and held_of(thread)
  for priority, tube in pairs(known[thread]) do
    remove_other_kind('list', list_of(thread, priority), 'list')
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

local function index_thread(thread, tubes)
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

local function repair_threads()
  tubes_in = {}
  for thread in pairs(known) do
    local tubes = true_tubes(thread)
    tubes_in[thread] = tubes
    set_field('threads', THREADS, thread, records[thread], encode_tubes(tubes))
    index_thread(thread, tubes)
  end
end

-- Holds, and threads that nothing holds.

-- A hold stays, as long as what is in hand is what the tube begins with.
local function is_hold_sound(held, tubes)
  if held.last < held.first then return true end
  for _, tube in ipairs(tubes) do
    if tube.priority == held.priority then
      return tube.head == held.first and held.last < tube.tail and not tube.is_cut
    end
  end
  return false
end

local function repair_hold(thread, tubes)
  local was, held = holds[thread], held_of(thread)
  if not is_hold_sound(held, tubes) then
    set_field('held', HELD, thread, was)
    return
  end
  leases[thread] = now + tonumber(held.lease)
  if #tubes == 0 and held.since ~= '0' then
    held.since = '0'
    store_hold(thread, held)
  elseif #tubes > 0 and held.since == '0' then
    arrive(thread, tubes)
  end
  local is = redis.call('HGET', HELD, thread)
  if is ~= was then add_change('held', thread, was, is) end
end

local function repair_holds()
  for thread in pairs(holds) do
    fence = math.max(fence, tonumber(held_of(thread).fence))
    repair_hold(thread, tubes_in[thread] or {})
  end
end

local function repair_failures()
  for name, was in pairs(fields_of(FAILURES)) do
    local thread, priority = string.match(name, '^(.*)/(%-?%d+)$')
    local failure, is = read_failure(was), nil
    for _, tube in ipairs(failure and tubes_in[thread] or {}) do
      local is_inside = tube.head <= failure.sequence and failure.sequence <= failure.last and failure.last < tube.tail
      if tube.priority == priority and is_inside then is = was end
    end
    set_field('failures', FAILURES, name, was, is)
  end
end

-- A thread stands still for a request of which a failure is noted, and no worker holds it.
local function repair_exhausted()
  for thread, was in pairs(fields_of(EXHAUSTED)) do
    local priority = read_stop(was)
    local is_kept = priority and tubes_in[thread] and not leases[thread] and failure_of(thread, priority)
    set_field('exhausted', EXHAUSTED, thread, was, is_kept and was or nil)
    local till = is_kept and redis.call('ZSCORE', BLOCKED, thread)
    if is_kept and till ~= PAUSED and till ~= STOPPED then
      add_change('blocked', thread, till or nil, STOPPED)
      redis.call('ZADD', BLOCKED, STOPPED, thread)
    end
  end
end

-- A thread is held, or blocked, or ready; a pause may last beside a hold. A quarantine that is left was lost by its key.
local function repair_blocked()
  local blocked = redis.call('ZRANGE', BLOCKED, 0, -1, 'WITHSCORES')
  for i = 1, #blocked, 2 do
    local thread, till = blocked[i], blocked[i + 1]
    local is_stop = till == STOPPED and exhausted_of(thread)
    local has_no_end = not is_stop and tonumber(till) >= FIRST_LONG_MOMENT
    if till ~= PAUSED and (leases[thread] or has_no_end) or not is_text(thread) then
      add_change('blocked', thread, till)
      redis.call('ZREM', BLOCKED, thread)
      if not leases[thread] then blocked[i] = '' end
    end
    ready[blocked[i]] = nil
  end
  for thread in pairs(leases) do ready[thread] = nil end
end

local function repair_cordoned()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', CORDONED, FIRST_LONG_MOMENT, '+inf')) do
    add_change('cordoned', name, 'for ever')
    redis.call('ZREM', CORDONED, name)
  end
end

-- The layout.

local function class_in(thread, number)
  local rank = layout_in_force() and string.match(thread, '^' .. number .. ':(%d+)$')
  return rank and tonumber(rank) % common_divisor(layout.threads, layout.before)
end

-- Threads of the previous layout that have requests: they are not drained. Returns them, and their residue classes.
local function old_threads()
  local old, classes = {}, {}
  for thread, tubes in pairs(tubes_in) do
    local residue = layout_in_force() and layout.before > 0 and #tubes > 0 and class_in(thread, layout.number - 1)
    if residue then old[thread], classes[residue] = residue, true end
  end
  return old, classes
end

-- Residue classes whose threads a bind is about to make ready; also those without parked threads, which it closes.
local function unparking_classes(old_classes)
  local unparking = {}
  for _, residue in ipairs(redis.call('ZRANGE', UNPARKING, 0, -1)) do
    residue = tonumber(residue)
    if is_integer(residue) and not old_classes[residue] then unparking[residue] = true end
  end
  return unparking
end

-- Threads of the layout in force wait where they may share keys with old ones, or with those that are about to be
-- ready.
local function park_ready(old_classes, unparking)
  local parked = {}
  for thread in pairs(ready) do
    local residue = layout_in_force() and class_in(thread, layout.number)
    if residue and (old_classes[residue] or unparking[residue]) then parked[thread] = residue end
  end
  for thread in pairs(parked) do ready[thread] = nil end
  return parked
end

local function set_unparking(unparking)
  for _, residue in ipairs(redis.call('ZRANGE', UNPARKING, 0, -1)) do
    if not unparking[tonumber(residue) or false] then
      add_change('unparking', residue, residue)
      redis.call('ZREM', UNPARKING, residue)
    end
  end
end

local function set_ready()
  local before = #changes
  set_index('ready', READY, ready, true)
  if #changes > before then woken = WAKE_LIMIT end
end

local function repair_order()
  local old, old_classes = old_threads()
  local unparking = unparking_classes(old_classes)
  local parked = park_ready(old_classes, unparking)
  set_ready()
  set_index('old', OLD, old)
  set_index('parked', PARKED, parked)
  set_unparking(unparking)
end

-- What waits for a time, and what is counted.

local function repair_numbered()
  local due, dead = {}, {}
  for number in pairs(delayed) do due[number] = now end
  for number in pairs(letters) do
    dead[number] = now
    last_letter = math.max(last_letter, tonumber(number))
  end
  set_index('due', DUE, due, true)
  set_index('dead', DEAD, dead, true)
end

local function repair_drops()
  for _, drop in ipairs(redis.call('LRANGE', DROPS, 0, -1)) do
    if not is_drop(drop) then
      add_change('drops', '', drop)
      redis.call('LREM', DROPS, 1, drop)
    end
  end
end

-- An identity that lost its window, or its first request, is forgotten.
local function repair_identities()
  for identity, was in pairs(firsts) do
    if not redis.call('ZSCORE', IDENTITIES, identity) then
      set_field('firsts', FIRSTS, identity, was)
      firsts[identity] = nil
    end
  end
  set_index('identities', IDENTITIES, firsts, true)
  for number, was in pairs(fields_of(NAMED)) do
    if not delayed[number] then set_field('named', NAMED, number, was) end
  end
end

-- What failed at an unknown time is kept for a day from now on.
local function repair_history()
  for thread in pairs(history) do history[thread] = now end
  set_index('failed', FAILED, history, true)
end

-- A schedule that lost its time occurs now, and then as its timing says.
local function repair_occurrences()
  for name in pairs(schedules) do schedules[name] = now end
  set_index('occurrences', OCCURRENCES, schedules, true)
  for _, name in ipairs(redis.call('HKEYS', SKIPPING)) do
    if not schedules[name] then set_field('skipping', SKIPPING, name, redis.call('HGET', SKIPPING, name)) end
  end
end

-- A counter of numbers given out is never below one in use.
local function raise_counter(name, least)
  local was = tonumber(redis.call('HGET', COUNTERS, name))
  if least > 0 and (not was or was < least) then
    set_field('counters', COUNTERS, name, was and integer(was), integer(least))
  end
end

local function repair_counters()
  local counted = redis.call('HGET', COUNTERS, 'depth')
  if (tonumber(counted) or 0) ~= depth then set_field('counters', COUNTERS, 'depth', counted, integer(depth)) end
  raise_counter('sequence', sequence)
  raise_counter('fence', fence)
  raise_counter('dead', last_letter)
  if sequence > 0 and redis.call('HEXISTS', COUNTERS, 'born') == 0 then
    set_field('counters', COUNTERS, 'born', false, integer(now_us))
  end
end

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end

remove_unreadable_layout()
remove_other_kinds()
remove_unreadable_counters()
empty_quarantine()
read_threads()
read_records()
sequence = next_number()

repair_threads()
repair_holds()
repair_failures()
repair_exhausted()
repair_blocked()
repair_cordoned()
repair_order()
set_index('leases', LEASES, leases, true)
set_index('oldest', OLDEST, oldest)
set_index('deep', DEEP, deep)
repair_numbered()
repair_drops()
repair_identities()
repair_occurrences()
repair_history()
repair_counters()
finish()
return #changes > 0 and store_answer(call, changes) or changes
