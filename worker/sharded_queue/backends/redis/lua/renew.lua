#!lua flags=allow-oom
-- Prolong leases.
--
-- ARGV  lease ms, owner, what the worker tells of itself or '', then per lease: thread, fence, number of the first
--       request in hand, what the handler reported of it: "done of note" or ''. Returns the threads that were lost.

local threads, lost, leases, reports, till = {}, {}, {}, {}, integer(now + tonumber(ARGV[1]))
for at = 4, #ARGV, 4 do threads[#threads + 1] = ARGV[at] end
for i, record in ipairs(records_of(HELD, threads)) do
  if record and string.match(record, '^%d+') == ARGV[4 * i + 1] then
    leases[#leases + 1] = till
    leases[#leases + 1] = threads[i]
    if ARGV[4 * i + 3] ~= '' then reports[#reports + 1] = i end
  else
    lost[#lost + 1] = threads[i]
  end
end
in_chunks(leases, 'ZADD', LEASES)
for _, i in ipairs(reports) do
  local key, report = lock .. ':progress:' .. threads[i], ARGV[4 * i + 3]
  local batch = ARGV[4 * i + 1] .. ' ' .. ARGV[4 * i + 2]
  local known, done = string.match(try('GET', key) or '', '^(%d+ %-?%d+) %d+ (%d+) ')
  -- Within a batch, progress goes forward only: a renewal that comes late must not take it back.
  if known == batch and tonumber(done) > tonumber(string.match(report, '^%d+')) then
    redis.call('PEXPIRE', key, 2 * tonumber(ARGV[1]))
  else
    redis.call('SET', key, batch .. ' ' .. now_text .. ' ' .. report, 'PX', 2 * tonumber(ARGV[1]))
  end
end
if ARGV[3] ~= '' and #leases > 0 then rarely().note_worker(ARGV[2], ARGV[3]) end
return lost
