#!lua flags=no-writes
-- Delayed requests, the next to be due first. ARGV  how many at most
--
-- Returns per request {number, due ms, thread, priority, message without its time}; one that cannot be read is left out.

check_format()
local reply, found = {}, redis.call('ZRANGE', DUE, 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local text = redis.call('HGET', LATER, found[i]) or ''
  local length, priority, at = string.match(text, '^(%d+) (%-?%d+) ()')
  if at and tonumber(length) < #text then
    local after = at + length
    reply[#reply + 1] = { found[i], found[i + 1], string.sub(text, at, after - 1), priority, string.sub(text, after + 13) }
  end
end
return reply
