#!lua flags=no-writes
-- Where dead letters would be put back. ARGV  bytes of all letters at most (or a single larger one), then numbers
--
-- Returns how many numbers were looked at, then per letter number, thread, bytes. One that is not there, or cannot be
-- read, is left out.

check_format()
local reply, room, looked = { 0 }, tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local letter = room > 0 and (redis.call('HGET', LETTERS, ARGV[i]) or '')
  if not letter then break end
  looked, room = looked + 1, room - #letter
  local thread, _, message = read_letter(letter)
  if thread and known_layout() ~= nil then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = ARGV[i], thread_in_force(thread, message), #letter
  end
end
reply[1] = looked
return reply
