#!lua flags=no-writes
-- A page of the delayed requests, the next to be due first.
--
-- ARGV  how many at most, bytes of all at most (or a single larger one), number and due ms of the last one of the page
--       before, or '' and ''
-- Returns {number and due ms of the last one of this page, '' and '' if it is the last page, then the requests: number,
--          due ms, thread, priority, message without its time; one that cannot be read is left out}

-- Where the page before ended. If its last request is gone, those with its time may come again.
local function place_after(number, due)
  if number == '' then return 0 end
  local rank = redis.call('ZRANK', DUE, number)
  return rank and rank + 1 or redis.call('ZCOUNT', DUE, '-inf', '(' .. due)
end

check_format()
local rows, room, begin = {}, tonumber(ARGV[2]), place_after(ARGV[3], ARGV[4])
local found = redis.call('ZRANGE', DUE, begin, begin + ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  if room <= 0 then return { found[i - 2], found[i - 1], rows } end
  local text = redis.call('HGET', LATER, found[i]) or ''
  local thread, priority, body = read_delayed(text)
  room = room - #text
  if thread and string.find(found[i], '^%d+$') then
    rows[#rows + 1] = { found[i], encode_moment(found[i + 1]), thread, priority, body }
  end
end
if #found < 2 * ARGV[1] then return { '', '', rows } end
return { found[#found - 1], found[#found], rows }
