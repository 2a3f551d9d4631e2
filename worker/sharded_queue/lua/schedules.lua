#!lua flags=no-writes
-- All schedules, the next to occur first. Returns {name, next ms, timing, thread, priority, message} of each.

local reply = {}
local names = redis.call('ZRANGE', OCCURRENCES, 0, -1, 'WITHSCORES')
for i = 1, #names, 2 do
  local schedule = schedule_of(names[i])
  if schedule then
    reply[#reply + 1] =
      { names[i], tonumber(spelled_moment(names[i + 1])), schedule.timing, schedule.thread, schedule.priority, schedule.message }
  end
end
return reply
