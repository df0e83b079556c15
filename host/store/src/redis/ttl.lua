-- Returns how many ms an entry has left: -1 if it never expires, -2 if there is none.
-- KEYS: 1 generation, 2 the entry
local head = redis.call('GETRANGE', KEYS[2], 0, 11)
if #head == 0 then return -2 end
if #head < 12 then return redis.error_reply('ERR this entry was not written by Reprieve') end
local written, expires = struct.unpack('>I6I6', head)
if written < tonumber(redis.call('GET', KEYS[1]) or '0') then return -2 end
if expires == 0 then return -1 end
local time = redis.call('TIME')
local left = expires - tonumber(time[1]) * 1000 - math.floor(tonumber(time[2]) / 1000)
return left > 0 and left or -2
