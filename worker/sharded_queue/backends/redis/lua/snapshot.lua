#!lua flags=no-writes
-- Everything that is known of a shard, at a cost of O(everything): for `check` and for tests, never for workers.
--
-- ARGV  thread, priority of lists that were found in Redis and are not in the index: they have no numbers there
-- Returns {counters, threads, held, failures, firsts (flat hashes), ready, blocked, oldest, deep, leases, due, dead,
-- identities, occurrences (flat sorted sets), fields of later, fields of letters, fields of schedules, tubes (flat:
-- thread, priority, head, tail, length or -1 where the key is not a list, first message), layout, old, parked, unparking (flat sorted
-- sets), quarantine (flat hash), records that cannot be read (flat: index, member, record), failed (flat sorted set),
-- fields of history, exhausted (flat hash)}

check_format()
local function ranked(key)
  return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
end

local tubes, listed = {}, {}
local function list_tube(thread, tube)
  local list = list_of(thread, tube.priority)
  if #ARGV > 0 then listed[list] = true end
  for _, value in ipairs({ thread, tube.priority, integer(tube.head), integer(tube.tail), try('LLEN', list) or -1,
                           try('LINDEX', list, 0) or '' }) do
    tubes[#tubes + 1] = value
  end
end
for _, thread in ipairs(redis.call('HKEYS', THREADS)) do
  for _, tube in ipairs(tubes_of(thread) or {}) do list_tube(thread, tube) end
end
for i = 1, #ARGV, 2 do
  local list = list_of(ARGV[i], ARGV[i + 1])
  if not listed[list] and redis.call('EXISTS', list) == 1 then
    list_tube(ARGV[i], { priority = ARGV[i + 1], head = 0, tail = 0 })
  end
end

local flaws = {}
local function look_at(index, key, is_readable)
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    if not is_readable(flat[i + 1], flat[i]) then
      flaws[#flaws + 1], flaws[#flaws + 2], flaws[#flaws + 3] = index, flat[i], flat[i + 1]
    end
  end
end
look_at('threads', THREADS, function(text, thread) return is_text(thread) and read_tubes(text) end)
look_at('later', LATER, read_delayed)
look_at('letters', LETTERS, read_letter)
look_at('schedules', SCHEDULES, function(_, name) return schedule_of(name) end)
look_at('history', HISTORY, read_history)
for _, drop in ipairs(redis.call('LRANGE', DROPS, 0, -1)) do
  if not is_drop(drop) then flaws[#flaws + 1], flaws[#flaws + 2], flaws[#flaws + 3] = 'drops', '', drop end
end

return { redis.call('HGETALL', COUNTERS), redis.call('HGETALL', THREADS), redis.call('HGETALL', HELD),
         redis.call('HGETALL', FAILURES), redis.call('HGETALL', FIRSTS), ranked(READY), ranked(BLOCKED), ranked(OLDEST),
         ranked(DEEP), ranked(LEASES), ranked(DUE), ranked(DEAD), ranked(IDENTITIES),
         ranked(OCCURRENCES), redis.call('HKEYS', LATER), redis.call('HKEYS', LETTERS), redis.call('HKEYS', SCHEDULES),
         tubes, redis.call('GET', LAYOUT) or '', ranked(OLD), ranked(PARKED), ranked(UNPARKING), redis.call('HGETALL', QUARANTINE), flaws, ranked(FAILED),
         redis.call('HKEYS', HISTORY), redis.call('HGETALL', EXHAUSTED) }
