#!lua
-- Register due occurrences of schedules, and return those that are due now.
--
-- ARGV  per occurrence: name, its time ms, timing, next ms
-- Returns {now, ms until the next that is not due yet or -1, {name, its time ms, timing} of each that is due}
--
-- A call names an occurrence by its time and its timing, so a second call, or one that comes again, finds that the
-- schedule has moved on and changes nothing. The next occurrence must lie ahead: of several that were missed, one is
-- registered.

-- Whether the last occurrence of a schedule that skips has not been handled yet. In a thread whose record cannot be read,
-- nothing is.
local function is_waiting(name)
  local thread, priority, sequence = last_occurrence(name)
  local tubes = thread and tubes_of(thread)
  return thread and not (tubes and is_done(tubes, priority, sequence))
end

-- Register an occurrence, unless it was registered already, is left out, or its schedule has changed. Returns whether it
-- was.
local function occur(name, moment, timing, following)
  local schedule = schedule_of(name)
  local is_due = moment <= now and tonumber(redis.call('ZSCORE', OCCURRENCES, name) or -1) == moment
  if not (schedule and schedule.timing == timing and is_due and following > now) then return false end
  if not is_numbered() or known_layout() == nil then return false end
  redis.call('ZADD', OCCURRENCES, occurrence_end(timing, following), name)
  if is_waiting(name) then return false end
  local message = encode_moment(moment) .. schedule.message
  local thread = thread_in_force(schedule.thread, message)
  local sequence = join(thread, schedule.priority, message)
  if redis.call('HGET', SKIPPING, name) then
    redis.call('HSET', SKIPPING, name, integer(sequence) .. ' ' .. schedule.priority .. ' ' .. thread)
  end
  return true
end

-- A name without a schedule that can be read is not due any more.
local function set_aside(name)
  if redis.call('HGET', SCHEDULES, name) then
    redis.call('HSET', QUARANTINE, 'schedule ' .. name, 'its record cannot be read')
  end
  redis.call('ZREM', OCCURRENCES, name)
end

-- The time of a due occurrence. A score that is not a time becomes the present.
local function moment_of(name, score)
  if tonumber(score) >= 0 then return tonumber(score) end
  redis.call('ZADD', OCCURRENCES, now, name)
  return now
end

local function ms_to_next()
  local range = { '(' .. integer(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1 }
  local coming = tonumber(redis.call('ZRANGEBYSCORE', OCCURRENCES, unpack(range))[2])
  return coming and coming < 1e14 and coming - now or -1
end

local function add_due(reply)
  local due = redis.call('ZRANGEBYSCORE', OCCURRENCES, '-inf', now, 'WITHSCORES', 'LIMIT', 0, SWEEP)
  for i = 1, #due, 2 do
    local name, schedule = due[i], schedule_of(due[i])
    if schedule then
      reply[#reply + 1] = { name, moment_of(name, due[i + 1]), schedule.timing }
    else
      set_aside(name)
    end
  end
  return reply
end

check_kinds()
follow_clock()
promote()
local registered = 0
for at = 1, #ARGV, 4 do
  if occur(ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])) then registered = registered + 1 end
end
store_joined()
if registered > 0 then try('HINCRBY', COUNTERS, 'registered', registered) end
finish()
return add_due({ now, ms_to_next() })
