#!lua flags=no-writes
-- Threads that stand still for a request without tries. ARGV  cursor of HSCAN, how many to look at
-- Returns {the next cursor, '0' at the end, per thread: thread, 'priority ms', its failure or ''}

check_format()
local cursor, found = unpack(redis.call('HSCAN', EXHAUSTED, ARGV[1], 'COUNT', ARGV[2]))
local listed = {}
for i = 1, #found, 2 do
  local at, priority = #listed, read_stop(found[i + 1])
  local failure = priority and redis.call('HGET', FAILURES, found[i] .. '/' .. priority)
  listed[at + 1], listed[at + 2], listed[at + 3] = found[i], found[i + 1], failure or ''
end
return { cursor, listed }
