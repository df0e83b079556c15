-- Removes entries of older generations, and returns how many.
-- KEYS: 1 generation, then entries
local generation = tonumber(redis.call('GET', KEYS[1]) or '0')
local removed = 0
for index = 2, #KEYS do
  local head = redis.call('GETRANGE', KEYS[index], 0, 5)
  if #head == 6 and struct.unpack('>I6', head) < generation then
    removed = removed + redis.call('UNLINK', KEYS[index])
  end
end
return removed
