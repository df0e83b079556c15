-- Begins a new generation: entries of older ones are treated as missing from now on.
-- KEYS: 1 generation, 2 usage, 3 bytes by the minute in which they expire, 4 these minutes
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before = tonumber(redis.call('GET', KEYS[1]) or '0')
redis.call('SET', KEYS[1], string.format('%.0f', math.max(now, before + 1)))
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
return 1
