#!lua flags=no-writes
-- The first requests of a tube. ARGV  thread, priority, count. Returns {sequence of the first, messages}.

for _, tube in ipairs(tubes_of(ARGV[1])) do
  if tube.priority == ARGV[2] then
    return { tube.head, redis.call('LRANGE', list_of(ARGV[1], ARGV[2]), 0, tonumber(ARGV[3]) - 1) }
  end
end
return { 0, {} }
