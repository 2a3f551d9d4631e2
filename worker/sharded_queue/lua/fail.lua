#!lua flags=allow-oom
-- The request at the head of a tube failed: its thread waits, or it goes to the dead letters.
--
-- ARGV  sent again (0 or 1), thread, fence, priority, sequence, attempt, delay ms (-1: to the dead letters), reason
-- Returns 1, or 0 when the lease was lost

local again, thread, fence, priority = ARGV[1] == '1', ARGV[2], ARGV[3], ARGV[4]
local sequence, attempt, delay, reason = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

local held = holds(thread, fence)
if not held then return again and delay >= 0 and not held_of(thread) and 1 or 0 end

if held.priority ~= priority or sequence > held.last then return 0 end -- was never handed out

local tubes = tubes_of(thread)
for i, tube in ipairs(tubes) do
  if tube.priority == priority and tube.head == sequence then
    if delay < 0 then
      bury(thread, tubes, i, attempt, reason)
    else
      local trouble = trouble_of(thread, priority)
      if not trouble or trouble.sequence ~= sequence then
        trouble = { sequence = sequence, last = sequence, crashes = 0 }
      end
      trouble.attempts, trouble.reason = attempt - trouble.crashes, reason
      keep_trouble(thread, priority, trouble)
    end
    break
  end
end
if delay >= 0 then
  let_go(thread)
  woken = woken + 1 -- nobody knows yet when this back-off ends
  redis.call('ZADD', BLOCKED, 'GT', now + delay, thread) -- a pause lasts longer
else
  held.first, held.last = sequence + 1, sequence
  if #tubes == 0 then held.since = '0' end
  keep_held(thread, held)
end
finish()
return 1
