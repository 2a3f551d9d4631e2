#!lua flags=allow-oom
-- Prolong leases.
--
-- ARGV  lease ms, owner, what the worker tells of itself or '', then per lease: thread, fence. Returns the threads that
--       were lost.

local threads, lost, leases, till = {}, {}, {}, integer(now + tonumber(ARGV[1]))
for at = 4, #ARGV, 2 do threads[#threads + 1] = ARGV[at] end
for i, record in ipairs(records_of(HELD, threads)) do
  if record and string.match(record, '^%d+') == ARGV[2 * i + 3] then
    leases[#leases + 1] = till
    leases[#leases + 1] = threads[i]
  else
    lost[#lost + 1] = threads[i]
  end
end
in_chunks(leases, 'ZADD', LEASES)
if ARGV[3] ~= '' and #leases > 0 then rarely().note_worker(ARGV[2], ARGV[3]) end
return lost
