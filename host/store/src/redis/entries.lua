-- The beginning of change.lua and commit.lua: how entries are read, written and counted.
-- KEYS: 1 generation, 2 usage, 3 bytes by the minute in which they expire, 4 these minutes in order
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end
local function minute(expires) return text(math.floor(expires / 60000) + 1) end

-- Redis has removed expired entries by itself; they still count until here. One call in eight is
-- enough, because few minutes pass.
if now % 8 == 0 then
  for _, past in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', math.floor(now / 60000), 'LIMIT', 0, 8)) do
    redis.call('DECRBY', KEYS[2], redis.call('HGET', KEYS[3], past) or '0')
    redis.call('HDEL', KEYS[3], past)
    redis.call('ZREM', KEYS[4], past)
  end
end

-- Both are read by the script.
local generation, used
-- Times to live that are none, in ms.
local KEEP, DELETE = -2, -3

local function is_foreign(stored) return stored and #stored < 12 end
local function foreign() return redis.error_reply('ERR this entry was not written by Reprieve') end

-- The value, or nil; when it expires; the bytes that it counts, of which `overhead` are not its value.
local function parse(stored, overhead)
  if not stored then return nil, 0, 0 end
  local written, expires = struct.unpack('>I6I6', stored)
  if written < generation then return nil, expires, 0 end
  return string.sub(stored, 13), expires, overhead + #stored - 12
end

local function count(bytes, until_ms)
  redis.call('INCRBY', KEYS[2], text(bytes))
  if until_ms > 0 then
    local at = minute(until_ms)
    local sum = redis.call('HINCRBY', KEYS[3], at, text(bytes))
    if sum == 0 then
      redis.call('HDEL', KEYS[3], at)
      redis.call('ZREM', KEYS[4], at)
    elseif sum == bytes then
      redis.call('ZADD', KEYS[4], at, at)
    end
  end
  used = used + bytes
end

-- Deletes an entry that counted `before` bytes, 0 if there is none, and expires at `expires`.
local function remove(key, before, expires)
  redis.call('UNLINK', key)
  if before > 0 then count(-before, expires) end
end

-- Writes an entry that counts `after` bytes from now on.
local function write(key, value, ttl, before, expires, after)
  if ttl == 0 then return remove(key, before, expires) end
  local until_ms = 0
  if ttl > 0 then
    until_ms = now + ttl
  elseif ttl == KEEP and before > 0 then
    until_ms = expires
  end
  local entry = struct.pack('>I6I6', generation, until_ms) .. value
  if until_ms > 0 then
    redis.call('SET', key, entry, 'PXAT', text(until_ms))
  else
    redis.call('SET', key, entry)
  end
  if before > 0 and expires == until_ms then
    if after ~= before then count(after - before, until_ms) end
  else
    if before > 0 then count(-before, expires) end
    count(after, until_ms)
  end
end
