#!lua
-- Append requests to tubes, all or nothing. A call that is sent again gets the answer of the first time.
--
-- KEYS  base, lock, producer
-- ARGV  call, stamp, tolerance ms, channel, handler tag, capacity of a tube (0: none), delay ms, then per tube: thread,
--       priority, count, messages
-- Returns {now, first sequence per tube ...}, {now} when the stamp is too far from our clock,
--         {now, 'full', depth, thread, priority}
--
-- No allow-oom here: a Redis at its memory limit refuses registrations and still drains.

local call, stamp, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local channel, tag, capacity, delay = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local FIRST, PRODUCER_TTL = 8, 600

local answered = redis.call('GET', KEYS[3])
if answered then
  local reply = {}
  for number in string.gmatch(answered, '%-?%d+') do reply[#reply + 1] = tonumber(number) end
  local last = reply[1]
  reply[1] = now
  -- An earlier call that comes late has been answered long ago, and nobody listens any more.
  if last >= call then return last == call and reply or { now } end
end
if math.abs(stamp - now) > tolerance then return { now } end

if capacity > 0 then
  local at = FIRST
  while at <= #ARGV do
    local thread, priority, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    for _, tube in ipairs(tubes_of(thread)) do
      local depth = tube.tail - tube.head
      if tube.priority == priority and depth + count > capacity then return { now, 'full', depth, thread, priority } end
    end
    if count > capacity then return { now, 'full', 0, thread, priority } end
    at = at + 3 + count
  end
end

local sequence = tonumber(redis.call('HGET', COUNTERS, 'sequence'))
if not sequence then
  sequence = 0
  redis.call('HSET', COUNTERS, 'born', whole(now_us), 'sequence', 0)
end

-- A delayed request has the number of its registration until its time has come. Equal times go by number, as text.
local function put_off(thread, priority, start, first, last)
  for i = first, last do
    local number = string.format('%016d', start + i - first)
    redis.call('ZADD', DUE, now + delay, number)
    redis.call('HSET', LATER, number, string.len(thread) .. ' ' .. priority .. ' ' .. thread .. ARGV[i])
  end
  woken = woken + 1
  return start
end

local reply, at, total = { now }, FIRST, 0
while at <= #ARGV do
  local thread, priority, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 3, at + 2 + count
  -- Above every number this tube ever gave: the counter of the shard grows by every request of every tube.
  local start = sequence + total
  if delay > 0 then
    reply[#reply + 1] = put_off(thread, priority, start, first, last)
  else
    reply[#reply + 1] = append(thread, priority, start, ARGV, first, last)
  end
  total = total + count
  at = last + 1
end

redis.call('HINCRBY', COUNTERS, 'sequence', total)
redis.call('HINCRBY', COUNTERS, 'registered', total)
finish()
if depth_change > 0 and tonumber(redis.call('HGET', COUNTERS, 'depth')) == depth_change then
  redis.call('PUBLISH', channel, tag)
end
local remembered = { whole(call) }
for i = 2, #reply do remembered[i] = whole(reply[i]) end
redis.call('SET', KEYS[3], table.concat(remembered, ' '), 'EX', PRODUCER_TTL)
return reply
