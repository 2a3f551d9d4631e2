#!lua flags=no-writes
-- A page of the schedules, the next to occur first. ARGV  how many come before it, how many it has at most
--
-- Returns {how many names it has, then of each schedule {name, next ms, timing, thread, priority, message, 1
-- if it leaves an occurrence out while the last one waits}}

check_format()
local from, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local names = redis.call('ZRANGE', OCCURRENCES, from, from + count - 1, 'WITHSCORES')
local reply = { #names / 2 }
for i = 1, #names, 2 do
  local schedule = schedule_of(names[i])
  if schedule then
    reply[#reply + 1] =
      { names[i], tonumber(encode_moment(names[i + 1])), schedule.timing, schedule.thread, schedule.priority, schedule.message,
        redis.call('HGET', SKIPPING, names[i]) and 1 or 0 }
  end
end
return reply
