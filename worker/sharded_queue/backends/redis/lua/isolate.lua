#!lua flags=allow-oom
-- A worker has nothing in a call but the one request that it holds of a thread, or no longer.
--
-- ARGV  thread, fence, 1 or 0, number of the holder's call. Returns 1, or 0 when the lease was lost
--
-- A call that comes late, after a newer one of the holder, changes nothing.

check_format()
local thread, is_alone, call = ARGV[1], ARGV[3] == '1', ARGV[4]
local held = held_by(thread, ARGV[2])
if not held or held.first ~= held.last then return 0 end
if not is_answered(held, call) then
  held.call, held.is_alone = call, is_alone
  store_hold(thread, held)
end
return held.is_alone == is_alone and 1 or 0
