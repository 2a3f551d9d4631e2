#!lua
-- Append requests to tubes, all or nothing. A call that is sent again gets the answer of the first time.
--
-- KEYS  base, lock, producer
-- ARGV  call, stamp, tolerance ms, channel, handler tag, capacity of a tube (0: none), delay ms, window ms (0: no
--       deduplication), layout ("number threads", or '' where no request was routed by key), bytes of the largest
--       message, then per tube: thread, priority, count, messages, and with a window as many identities. Without a
--       window, also: thread, priority, the negative of the count, all messages as one MessagePack array of strings
-- Returns {now, first sequence per tube (0 where nothing was new) ..., then per duplicate: number of its tube, its place
--         there, "sequence priority thread" of the request it equals},
--         {now} when the stamp is too far from our clock, {now, 'full', depth, thread, priority},
--         {now, 'priorities', how many the thread has, thread} when it had more than it may have,
--         {now, 'layout', number, threads} when another layout is in force than requests were placed by
--
-- No allow-oom here: a Redis at its memory limit refuses registrations and still drains.
--
-- The steps of the common path are sections with a heading, and not functions: Redis creates the functions of a script
-- at every call, and that would cost a registration of one request a tenth of its time.

local call, stamp, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local channel, tag, capacity, delay = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local window, placed_by, FIRST = tonumber(ARGV[8]), ARGV[9], 11

-- 1. Answer a call that comes again. One that comes late was answered long ago: its answer is not read any more.

local earlier = stored_answer(call)
if earlier ~= nil then
  earlier = earlier or {}
  earlier[1] = now
  return earlier
end

-- 2. Refuse a wrong stamp, and another layout than the one in force.

if math.abs(stamp - now) > tolerance then return { now } end
if placed_by ~= '' and layout_in_force() and layout.number .. ' ' .. layout.threads ~= placed_by then
  return store_answer(call, { now, 'layout', layout.number, layout.threads })
end

-- 3. Leave out duplicates: `entries` from number `from` on are what is registered.

-- What is registered for the first time, and what is not: {number of its tube, its place there, identity, and for the
-- latter the request that it equals, if that was registered by an earlier call}.
local fresh, repeated = {}, {}
local entries, from = ARGV, FIRST
if delay > 0 or window > 0 then rarely().follow_clock() end
if window > 0 then
  -- Forget identities whose window is over, always more of them than this call can add.
  local function forget(count)
    local over = redis.call('ZRANGEBYSCORE', IDENTITIES, '-inf', now_text, 'LIMIT', '0', SWEEP + count)
    in_chunks(over, 'ZREM', IDENTITIES)
    in_chunks(over, 'HDEL', FIRSTS)
  end

  -- The arguments of each tube, without duplicates and without identities.
  local function distinct()
    local kept, taken, at, tube = {}, {}, FIRST, 0
    while at <= #ARGV do
      local count, head = tonumber(ARGV[at + 2]), #kept + 1
      if count < 0 then error({ err = 'ARGUMENTS with a window, each message is an argument' }) end
      kept[head], kept[head + 1], kept[head + 2] = ARGV[at], ARGV[at + 1], 0
      local first, last, tills = at + 3 + count, at + 2 + 2 * count, nil
      for place = 0, count - 1 do
        if place % CHUNK == 0 then
          tills = redis.call('ZMSCORE', IDENTITIES, unpack(ARGV, first + place, math.min(first + place + CHUNK - 1, last)))
        end
        local identity, till = ARGV[first + place], tills[place % CHUNK + 1]
        local known = till and tonumber(till) > now and redis.call('HGET', FIRSTS, identity)
        if taken[identity] or known then
          repeated[#repeated + 1] = { tube, place, identity, known }
        else
          taken[identity] = true
          fresh[#fresh + 1] = { tube, kept[head + 2], identity }
          kept[head + 2] = kept[head + 2] + 1
          kept[#kept + 1] = ARGV[at + 3 + place]
        end
      end
      at, tube = at + 3 + 2 * count, tube + 1
    end
    return kept
  end

  forget(math.floor(#ARGV / 2))
  entries, from = distinct(), 1
end

-- 4. Read the threads, each once: where the arguments of each tube begin, its messages where they came as one argument,
-- and the tubes of each thread, false where their record cannot be read.

local places, threads, packed, tubes_of_each, at = {}, {}, {}, {}, from
while at <= #entries do
  local thread, count = entries[at], tonumber(entries[at + 2])
  places[#places + 1] = at
  if not tubes_of_each[thread] then threads[#threads + 1], tubes_of_each[thread] = thread, true end
  if count < 0 then
    local messages = cmsgpack.unpack(entries[at + 3])
    local found = type(messages) == 'table' and #messages or 0
    if found ~= -count then error({ err = 'ARGUMENTS ' .. found .. ' messages, not ' .. -count }) end
    -- A comparison takes less time than the type does, and fails for all but strings.
    local are_strings = pcall(function()
      for n = 1, found do local _ = messages[n] < '' end
    end)
    for n = 1, are_strings and 0 or found do
      local kind = type(messages[n])
      if kind ~= 'string' then error({ err = 'ARGUMENTS a message is a ' .. kind }) end
    end
    packed[#places], count = messages, 1
  end
  at = at + 3 + count
end

for i, record in ipairs(records_of(THREADS, threads)) do tubes_of_each[threads[i]] = read_tubes(record) or false end

-- 5. Refuse what has no room: in a tube, or among the priorities of a thread.

local priorities = {}
for _, place in ipairs(places) do
  local thread, priority, count = entries[place], entries[place + 1], math.abs(tonumber(entries[place + 2]))
  local tubes = tubes_of_each[thread] or {}
  local tube = tubes[position_of(tubes, priority)]
  local depth = tube and tube.tail - tube.head or 0
  if capacity > 0 and count > 0 and depth + count > capacity then
    return store_answer(call, { now, 'full', depth, thread, priority })
  end
  if not tube and count > 0 and delay == 0 then
    priorities[thread] = (priorities[thread] or #tubes) + 1
    if priorities[thread] > MOST_PRIORITIES then return store_answer(call, { now, 'priorities', #tubes, thread }) end
  end
end

-- 6. Check the keys that are written below and were not read yet: a key of another kind ends the script here, before it
-- has written. Where requests join others in their tube, only the tubes and the depth of the thread are written.

local holds = {}
local function check_keys()
  local tubes = #places == 1 and delay == 0 and window == 0 and tubes_of_each[threads[1]]
  if tubes and position_of(tubes, entries[from + 1]) then return redis.call('ZCARD', DEEP) end
  if delay > 0 then
    redis.call('ZCARD', base .. ':due')
    redis.call('HLEN', base .. ':later')
  else
    any_blocked = redis.call('ZCARD', BLOCKED) > 0
    for _, key in ipairs({ READY, OLDEST, DEEP }) do redis.call('ZCARD', key) end
    holds = records_of(HELD, threads)
  end
  if window > 0 then
    redis.call('HLEN', FIRSTS)
    redis.call('HLEN', base .. ':named')
  end
end

check_keys()

-- 7. Write the requests.

local sequence = next_sequence(tonumber(ARGV[10]))
if placed_by ~= '' and not layout then redis.call('SET', LAYOUT, placed_by .. ' 0') end

local reply, routes, total = { now }, {}, 0
for i, place in ipairs(places) do
  local thread, priority, count = entries[place], entries[place + 1], tonumber(entries[place + 2])
  local messages, source, first, last = packed[i], entries, place + 3, place + 2 + count
  if messages then source, first, last = messages, 1, -count end
  -- Above every number that this tube ever gave: the counter of the shard grows by every request of every tube.
  local start = sequence + total
  if last < first then
    reply[i + 1] = 0
  elseif delay > 0 then
    reply[i + 1] = rarely().put_off(thread, priority, start, source, first, last, now + delay)
  else
    reply[i + 1] = extend(thread, tubes_of_each[thread], priority, start, source, first, last)
  end
  if window > 0 then routes[i] = priority .. ' ' .. thread end
  total = total + last - first + 1
end

local alone = total == 1 and #places == 1 and (packed[1] and packed[1][1] or entries[places[1] + 3])
for i, thread in ipairs(threads) do store_extended(thread, tubes_of_each[thread], holds[i], alone) end

local count = integer(total)
redis.call('HINCRBY', COUNTERS, 'sequence', count)
try('HINCRBY', COUNTERS, 'registered', count)

-- 8. Remember the identities of new requests. Redis forgets all of them by itself when registrations end.

if #fresh > 0 then
  local tills, firsts, named, till = {}, {}, {}, rarely().end_of(IDENTITY_WAITS, now + window)
  for i, new in ipairs(fresh) do
    local tube, place, identity = new[1] + 1, new[2], new[3]
    tills[2 * i - 1], tills[2 * i] = till, identity
    firsts[2 * i - 1], firsts[2 * i] = identity, integer(reply[tube + 1] + place) .. ' ' .. routes[tube]
    if delay > 0 then
      named[2 * i - 1], named[2 * i] = string.format('%016d', reply[tube + 1] + place), identity
    end
  end
  in_chunks(named, 'HSET', base .. ':named')
  in_chunks(tills, 'ZADD', IDENTITIES)
  in_chunks(firsts, 'HSET', FIRSTS)
  local latest = redis.call('ZRANGE', IDENTITIES, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', IDENTITIES, latest)
  redis.call('PEXPIREAT', FIRSTS, latest)
end
if #repeated > 0 then try('HINCRBY', COUNTERS, 'duplicates', #repeated) end

-- 9. Announce the first request of an empty queue, and answer.

local depth = finish()
if depth_change > 0 and depth == depth_change then redis.call('PUBLISH', channel, tag) end
for _, duplicate in ipairs(repeated) do
  local tube, place, first = duplicate[1], duplicate[2], duplicate[4] or redis.call('HGET', FIRSTS, duplicate[3])
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = tube, place, first
end
return store_answer(ARGV[1], reply)
