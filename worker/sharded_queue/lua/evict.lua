#!lua flags=allow-oom
-- Free all threads of workers that are known to be gone, without waiting for their leases. Whoever is not gone after
-- all finds its fence refused.
--
-- ARGV  crash limit, then names of workers (what stands before the / of an owner). Returns the threads.

local gone, freed = {}, {}
for i = 2, #ARGV do gone[ARGV[i]] = true end
for _, thread in ipairs(redis.call('HKEYS', HELD)) do
  if gone[string.match(held_of(thread).owner, '^[^/]*')] then
    expire(thread, tonumber(ARGV[1]))
    freed[#freed + 1] = thread
  end
end
finish()
return freed
