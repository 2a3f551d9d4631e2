#!lua flags=no-writes
-- Dead letters by their numbers. ARGV  bytes of all letters at most (or a single larger one), then numbers
--
-- Returns how many numbers were looked at, then per letter number, ms of its death, letter. One that is not there is left
-- out.

local reply, room, looked = { 0 }, tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local died = redis.call('ZSCORE', DEAD, ARGV[i])
  local letter = died and redis.call('HGET', LETTERS, ARGV[i])
  if letter and looked > 0 and #letter > room then break end
  looked = looked + 1
  if letter then
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = ARGV[i], died, letter
    room = room - #letter
  end
end
reply[1] = looked
return reply
