#!lua flags=allow-oom
-- Free the threads of workers that are known to be gone, without waiting for their leases. A worker that is not gone
-- after all finds its fence refused. It does not count as a crash of any request, because the worker was removed on
-- purpose.
--
-- KEYS  base, lock, caller
-- ARGV  call, cursor of HSCAN, how many holds to look at, names of workers (what stands before the / of an owner)
-- Returns {the next cursor, '0' at the end, threads}. A worker that is gone gets no holds, so none is missed.

check_format()
local call = tonumber(table.remove(ARGV, 1))
local earlier = stored_answer(call)
if earlier ~= nil then return earlier end
check_kinds()
local gone, freed = {}, {}
for i = 3, #ARGV do gone[ARGV[i]] = true end
local cursor, found = unpack(redis.call('HSCAN', HELD, ARGV[1], 'COUNT', ARGV[2]))
for i = 1, #found, 2 do
  local thread, held = found[i], read_hold(found[i + 1])
  if held and gone[string.match(held.owner, '^[^/]*')] then
    let_go(thread)
    make_ready(thread, tubes_of(thread))
    freed[#freed + 1] = thread
  end
end
finish()
return store_answer(call, { cursor, freed })
