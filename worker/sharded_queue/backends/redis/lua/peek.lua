#!lua flags=no-writes
-- Requests of a tube in their order, at most `count`, in at most `bytes` bytes or a single larger one.
--
-- ARGV  thread, priority, count, bytes, the number after which to read ('' for the first ones)
-- Returns {sequence of the first, messages}
--
-- Redis finds the place in the list from its nearer end, by blocks of 8 kB: half a million small requests away take it
-- 0.1 ms more.

check_format()
local tubes = tubes_of(ARGV[1]) or {}
local tube = tubes[position_of(tubes, ARGV[2])]
if not tube then return { 0, {} } end
local first = math.max(tube.head, (tonumber(ARGV[5]) or tube.head - 1) + 1)
local count = math.min(tonumber(ARGV[3]), tube.tail - first)
return { first, messages_from(list_of(ARGV[1], ARGV[2]), first - tube.head, count, tonumber(ARGV[4])) }
