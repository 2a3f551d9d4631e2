#!lua flags=allow-oom
-- The requests for which threads stand still get all of their tries again. A pause of a thread stays.
--
-- KEYS  base, lock, caller
-- ARGV  call, then per thread: thread, 'priority ms' as its record has it. Returns the threads whose records are these

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
check_kinds()
local done = {}
for i = 1, #ARGV, 2 do
  local thread = ARGV[i]
  if redis.call('HGET', EXHAUSTED, thread) == ARGV[i + 1] then
    if try_anew(thread) then make_ready(thread, tubes_of(thread)) end
    done[#done + 1] = thread
  end
end
finish()
return store_answer(call, done)
