#!lua flags=allow-oom
-- The request at the head of a tube failed: its thread backs off. Where no try is left, the request becomes a dead letter,
-- or its thread stops. Or a call of several requests failed: each of them is handed out alone from here on. Or one of them
-- snoozes: the thread waits, and no try is counted.
--
-- ARGV  sent again (0 or 1), thread, fence, priority, sequence, attempt, delay ms (or 'dead' if no try is left), reason
--       (where no try is left: with its traceback in the lines after the first), number of the holder's call or '',
--       cap ms (the handler could not start: the delay doubles with each such failure in a row, up to the cap) or '',
--       end of the traceback, sequence of the last request of the call that failed or '': then no request is to blame,
--       and the first one stays in the hands of the holder; of a snooze: how often in a row a request may, 'unlimited'
--       for no bound, or ''; 1 if a request without tries stops its thread, or 0 if it becomes a dead letter
-- Returns 1, or 0 when the lease was lost
--
-- A failure that was carried out is only answered: its holder may be at its next batch.

local again, thread, fence, priority = ARGV[1] == '1', ARGV[2], ARGV[3], ARGV[4]
local sequence, attempt, delay, reason = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]) or -1, ARGV[8]
local call, cap, last = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[12])
local most_snoozes, stops = ARGV[13] == 'unlimited' and math.huge or tonumber(ARGV[13]), ARGV[14] == '1'
if ARGV[7] ~= 'dead' then delay = math.max(delay, 0) end

check_kinds()
if most_snoozes then check_way_back() end
local held, tubes = held_by(thread, fence), tubes_of(thread)
local was_dealt_with = tubes and is_done(tubes, priority, sequence)

-- Whether this call backed off the thread when it was sent before; other workers may have tried the request since.
local function was_put_off()
  local failure = failure_of(thread, priority)
  local is_noted = failure and failure.sequence == sequence and failure.attempts + failure.crashes >= attempt
  return again and (delay >= 0 or stops) and (was_dealt_with or is_noted)
end

-- Its place among the tubes, where the request is at the head and was handed out.
local function place_at_head()
  for i, tube in ipairs(tubes) do
    if tube.priority == priority and tube.head == sequence then
      return held.priority == priority and sequence <= held.last and i
    end
  end
end

if not held then return was_put_off() and 1 or 0 end
if not tubes then
  quarantine(thread, UNREADABLE)
  let_go(thread)
  return 0
end
if was_dealt_with or is_answered(held, call) then return 1 end
local i = place_at_head()
if not i then return 0 end

if call ~= '' then held.call = call end
local failure = failure_of(thread, priority)
local last_suspect = math.max(sequence, failure and failure.last or sequence)

-- How often in a row the request has snoozed, or its handler could not start: the reason of the last time has the number.
local function times(what)
  local number = string.match(failure and failure.sequence == sequence and failure.reason or '', '^' .. what .. ' %((%d+)%): ')
  return (tonumber(number) or 0) + 1
end
local snoozes = most_snoozes and times('snoozed')

local function note(reason)
  if not failure or failure.sequence ~= sequence then
    failure = { sequence = sequence, crashes = 0 }
  end
  failure.last, failure.attempts, failure.reason = last_suspect, attempt - failure.crashes, reason
  store_failure(thread, priority, failure)
end

-- No try of the request is left.
local function exhaust(reason)
  local said = string.match(reason, '^[^\n]*')
  note_failed(thread, priority, sequence, attempt, said, ARGV[11])
  if stops then
    note(said)
    stop(thread, priority)
  else
    dead_letter(thread, tubes, i, attempt, reason)
  end
end

if last and not snoozes then
  if held.last > sequence then -- when it comes again, the first one is alone already
    last_suspect = math.max(last_suspect, math.min(last, held.last))
    failure = { sequence = sequence, last = last_suspect, attempts = 0, crashes = 0, reason = reason }
    store_failure(thread, priority, failure)
    held.first, held.last = sequence, sequence
  end
  store_hold(thread, held)
elseif snoozes and snoozes > most_snoozes then
  reason = 'snoozed ' .. most_snoozes .. (most_snoozes == 1 and ' time' or ' times') .. ' in a row, last for ' .. reason
  exhaust(reason)
  let_go(thread)
  make_ready(thread, tubes)
elseif delay >= 0 then
  follow_clock()
  if cap then
    local starts = times('cannot start')
    delay, reason = math.min(cap, delay * 2 ^ math.min(starts - 1, 60)), 'cannot start (' .. starts .. '): ' .. reason
  end
  if snoozes then
    reason = 'snoozed (' .. snoozes .. '): ' .. reason
    last_suspect = math.max(last_suspect, math.min(last, held.last))
  end
  note(reason)
  let_go(thread)
  if not snoozes then note_failed(thread, priority, sequence, attempt, reason, ARGV[11]) end
  hold_back(thread, now + delay)
elseif stops then
  exhaust(reason)
  let_go(thread)
else
  exhaust(reason)
  held.first, held.last = sequence + 1, sequence
  if #tubes == 0 then held.since = '0' end
  store_hold(thread, held)
end
finish()
return 1
