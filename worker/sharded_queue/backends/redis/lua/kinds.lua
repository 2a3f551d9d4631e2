#!lua flags=no-writes
-- The keys of the shard that hold another kind of value than ours. Returns {key, our kind} of each.

local wrong = {}
for kind, keys in pairs(keys_by_kind()) do
  for _, key in ipairs(keys) do
    if try(size_of(kind, key)) == nil then wrong[#wrong + 1] = { key, kind } end
  end
end
if #wrong == 0 and known_layout() == nil then wrong[1] = { LAYOUT, 'layout' } end
return wrong
