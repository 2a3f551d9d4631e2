#!lua flags=no-writes
-- Delayed requests, the next to be due first. ARGV  how many at most
--
-- Returns per request {number, due ms, thread, priority, message without its time}; one that cannot be read is left out.

check_format()
local reply, found = {}, redis.call('ZRANGE', DUE, 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local thread, priority, body = read_delayed(redis.call('HGET', LATER, found[i]) or '')
  if thread and string.find(found[i], '^%d+$') then
    reply[#reply + 1] = { found[i], encode_moment(found[i + 1]), thread, priority, body }
  end
end
return reply
