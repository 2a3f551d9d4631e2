#!lua flags=allow-oom
-- Prolong leases, and remove what their holders have reported done of the batches in their hands.
--
-- ARGV  lease ms, owner, what the worker tells of itself or '', then per lease: thread, fence, number of the first
--       request in hand, what the handler reported of it: "done of note" or '', priority, number of the last request
--       that is done or ''. Returns the threads that were lost.

local threads, lost, leases, reports, till = {}, {}, {}, {}, integer(now + tonumber(ARGV[1]))
local any_done = false
for at = 4, #ARGV, 6 do threads[#threads + 1] = ARGV[at] end
local records = records_of(HELD, threads)
for i, record in ipairs(records) do
  local at = 6 * i - 2
  if record and string.match(record, '^%d+') == ARGV[at + 1] then
    leases[#leases + 1] = till
    leases[#leases + 1] = threads[i]
    if ARGV[at + 3] ~= '' or ARGV[at + 5] ~= '' then reports[#reports + 1] = i end
    any_done = any_done or ARGV[at + 5] ~= ''
  else
    lost[#lost + 1] = threads[i]
  end
end

-- Remove requests of a batch that begins with `first`, up to `through`: their work is done though the call goes on. The
-- last one in hand stays, as its holder ends the batch. Returns the number of the first that is left, nil where another
-- call or renewal was faster.
local function remove_done(thread, record, priority, first, through)
  local held, tubes = rarely().read_hold(record), rarely().tubes_of(thread)
  local i = held and tubes and held.priority == priority and rarely().position_of(tubes, priority)
  if not i or tubes[i].head ~= held.first or held.first < first or held.first > through + 1 then return nil end
  local count = math.min(through, held.last - 1) - held.first + 1
  if count > 0 then
    settled = settled + count
    rarely().pop_requests(thread, tubes, i, count)
    held.first = held.first + count
    rarely().store_hold(thread, held)
  end
  return integer(held.first)
end

local function note_report(i, first, report)
  local key = lock .. ':progress:' .. threads[i]
  local batch = ARGV[6 * i - 1] .. ' ' .. first
  local known, done = string.match(try('GET', key) or '', '^(%d+ %-?%d+) %d+ (%d+) ')
  -- Within a batch, progress goes forward only: a renewal that comes late must not take it back.
  if known == batch and tonumber(done) > tonumber(string.match(report, '^%d+')) then
    redis.call('PEXPIRE', key, 2 * tonumber(ARGV[1]))
  else
    redis.call('SET', key, batch .. ' ' .. now_text .. ' ' .. report, 'PX', 2 * tonumber(ARGV[1]))
  end
end

if any_done then rarely().check_kinds() end
in_chunks(leases, 'ZADD', LEASES)
for _, i in ipairs(reports) do
  local at = 6 * i - 2
  local first, report, through = ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 5])
  if through then first = remove_done(threads[i], records[i], ARGV[at + 4], tonumber(first), through) end
  if first and report ~= '' then note_report(i, first, report) end
end
if settled > 0 then rarely().finish() end
if ARGV[3] ~= '' and #leases > 0 then rarely().note_worker(ARGV[2], ARGV[3]) end
return lost
