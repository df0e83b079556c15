-- Takes away entries of older generations.
-- KEYS: 1 generation, then entries
local generation = tonumber(redis.call('GET', KEYS[1]) or '0')
local gone = 0
for index = 2, #KEYS do
  local head = redis.call('GETRANGE', KEYS[index], 0, 5)
  if #head == 6 and struct.unpack('>I6', head) < generation then
    gone = gone + redis.call('UNLINK', KEYS[index])
  end
end
return gone
