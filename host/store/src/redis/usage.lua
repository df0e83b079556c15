-- Stops counting expired entries, and returns the bytes in use.
-- KEYS: 1 generation (unused), 2 usage, 3 bytes by the minute in which they expire, 4 these minutes
--   in order
local now = math.floor(tonumber(redis.call('TIME')[1]) / 60)
for _, past in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('DECRBY', KEYS[2], redis.call('HGET', KEYS[3], past) or '0')
  redis.call('HDEL', KEYS[3], past)
  redis.call('ZREM', KEYS[4], past)
end
return redis.call('GET', KEYS[2]) or '0'
