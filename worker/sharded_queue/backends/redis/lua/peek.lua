#!lua flags=no-writes
-- The first requests of a tube, at most `count`, in at most `bytes` bytes or a single larger one.
--
-- ARGV  thread, priority, count, bytes. Returns {sequence of the first, messages}.

check_format()
for _, tube in ipairs(tubes_of(ARGV[1]) or {}) do
  if tube.priority == ARGV[2] then
    local count = math.min(tonumber(ARGV[3]), tube.tail - tube.head)
    if count < 1 then break end
    return { tube.head, (first_messages(list_of(ARGV[1], ARGV[2]), count, tonumber(ARGV[4]))) }
  end
end
return { 0, {} }
