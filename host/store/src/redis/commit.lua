-- Applies the writes of a batch, or none of them. Follows entries.lua.
-- KEYS: from 5 the entries: first the expected ones, then those to write, each only once
-- ARGV: 1 whether to delete all entries before the writes (1 or 0), 2 quota, 3 number of expected
--   entries; for each of them whether it exists (1 or 0) and its value; for each entry to write its
--   time to live in ms (-1 for ever, -2 to keep the present one, -3 to delete the entry), the bytes
--   that it counts besides its value, and the value
-- Returns: 1 done, 0 conflict, -1 over quota; the bytes in use.
local found = redis.call('MGET', KEYS[1], KEYS[2])
generation, used = tonumber(found[1] or '0'), tonumber(found[2] or '0')
local clears, quota, expected = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[3])

for index = 1, expected do
  local stored = redis.call('GET', KEYS[4 + index])
  if is_foreign(stored) then return foreign() end
  local present = parse(stored, 0)
  local exists, value = ARGV[2 + 2 * index], ARGV[3 + 2 * index]
  if present ~= (exists == '1' and value or nil) then return { 0, text(used) } end
end

local writes = {}
local before, after = clears and math.max(used, 0) or 0, 0
for index = 1, #KEYS - 4 - expected do
  local first = 1 + 2 * expected + 3 * index
  local write = { key = KEYS[4 + expected + index], ttl = tonumber(ARGV[first]), value = ARGV[first + 2] }
  local overhead = tonumber(ARGV[first + 1])
  write.before, write.expires, write.after = 0, 0, 0
  if not clears then
    local stored = redis.call('GET', write.key)
    if is_foreign(stored) then return foreign() end
    local _
    _, write.expires, write.before = parse(stored, overhead)
  end
  if write.ttl ~= DELETE then write.after = overhead + #write.value end
  before, after = before + write.before, after + write.after
  writes[index] = write
end
if after > before and used + after - before > quota then return { -1, text(used) } end

if clears then
  generation, used = math.max(now, generation + 1), 0
  redis.call('SET', KEYS[1], text(generation))
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
end
for _, one in ipairs(writes) do
  if one.ttl == DELETE then
    remove(one.key, one.before, one.expires)
  else
    write(one.key, one.value, one.ttl, one.before, one.expires, one.after)
  end
end
return { 1, text(used) }
