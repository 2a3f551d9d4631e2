#!lua flags=allow-oom
-- Free all threads of workers that are known to be gone, without waiting for their leases. A worker that is not gone
-- after all finds its fence refused. It does not count as a crash of any request, because the worker was removed on
-- purpose.
--
-- KEYS  base, lock, caller
-- ARGV  call, how many threads at most, names of workers (what stands before the / of an owner). Returns the threads.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
check_kinds()
local gone, freed = {}, {}
local most = tonumber(ARGV[1])
for i = 2, #ARGV do gone[ARGV[i]] = true end
for _, thread in ipairs(redis.call('HKEYS', HELD)) do
  if #freed == most then break end
  local held = held_of(thread)
  if held and gone[string.match(held.owner, '^[^/]*')] then
    let_go(thread)
    make_ready(thread, tubes_of(thread))
    freed[#freed + 1] = thread
  end
end
finish()
return store_answer(call, freed)
