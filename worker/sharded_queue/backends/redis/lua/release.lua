#!lua flags=allow-oom
-- Free threads, at once or after a while. ARGV  ms until they may be bound, then per lease: thread, fence. Leases that
-- were lost already are left alone.

local delay = tonumber(ARGV[1])
check_way_back()
if delay > 0 then follow_clock() end
for at = 2, #ARGV, 2 do
  if held_by(ARGV[at], ARGV[at + 1]) then
    local tubes = tubes_of(ARGV[at])
    let_go(ARGV[at])
    if delay > 0 and not (tubes and #tubes == 0) then
      hold_back(ARGV[at], now + delay)
    else
      make_ready(ARGV[at], tubes)
    end
  end
end
finish()
return 1
