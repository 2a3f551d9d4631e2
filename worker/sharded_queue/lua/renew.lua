#!lua flags=allow-oom
-- Prolong leases. ARGV  lease ms, then per lease: thread, fence. Returns the threads that were lost.

local lost = {}
for at = 2, #ARGV, 2 do
  if holds(ARGV[at], ARGV[at + 1]) then
    redis.call('ZADD', LEASES, now + tonumber(ARGV[1]), ARGV[at])
  else
    lost[#lost + 1] = ARGV[at]
  end
end
return lost
