-- Carries out one operation on one entry, as Operation::apply in operation.rs defines it. The same
-- tests hold both.
-- KEYS: 1 generation, 2 usage, 3 bytes by the minute in which they expire, 4 these minutes in order,
--   5 the entry, 6 scratch space
-- ARGV: 1 operation, 2 value or summand, 3 expected value, 4 time to live in ms (-1 for none),
--   5 quota, 6 bytes that the entry counts overheads its value, 7 length of the longest value
-- Returns: 1 done, 0 not done, -1 over quota, -2 too long, -3 not a number; the value of the
--   counter; the bytes in use.
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

local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[5])
local generation, used, stored = tonumber(found[1] or '0'), tonumber(found[2] or '0'), found[3]
local overhead = tonumber(ARGV[6])
local present, expires, before = nil, 0, 0
if stored then
  if #stored < 12 then return redis.error_reply('ERR this entry was not written by Reprieve') end
  local written
  written, expires = struct.unpack('>I6I6', stored)
  if written >= generation then
    present = string.sub(stored, 13)
    before = overhead + #present
  end
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

local operation = ARGV[1]
local value, number, keeps = ARGV[2], '0', false
if operation == 'delete' then
  if present then
    redis.call('UNLINK', KEYS[5])
    count(-before, expires)
  end
  return { present and 1 or 0, '0', text(used) }
elseif operation == 'add' then
  if present then return { 0, '0', text(used) } end
elseif operation == 'compare' then
  if present ~= ARGV[3] then return { 0, '0', text(used) } end
elseif operation == 'increment' then
  local sum = present or '0'
  if sum ~= '0' and not string.match(sum, '^%-?[1-9][0-9]*$') then return { -3, '0', text(used) } end
  if #sum <= 15 and #value <= 15 then
    value = text(tonumber(sum) + tonumber(value))
  else
    -- Numbers of Lua have 53 bits, those of Redis 64.
    redis.call('SET', KEYS[6], sum)
    local result = redis.pcall('INCRBY', KEYS[6], value)
    if type(result) == 'table' and result.err then
      redis.call('DEL', KEYS[6])
      if not string.find(result.err, 'overflow', 1, true) then return { -3, '0', text(used) } end
      value = string.sub(value, 1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
    else
      value = redis.call('GET', KEYS[6])
      redis.call('DEL', KEYS[6])
    end
  end
  number = value
  keeps = present ~= nil
end

if #value > tonumber(ARGV[7]) then return { -2, '0', text(used) } end
local ttl = tonumber(ARGV[4])
local until_ms = keeps and expires or (ttl < 0 and 0 or now + ttl)
local after = overhead + #value
if after > before and used + after - before > tonumber(ARGV[5]) then return { -1, '0', text(used) } end

if not keeps and ttl == 0 then
  redis.call('UNLINK', KEYS[5])
  if before > 0 then count(-before, expires) end
  return { 1, number, text(used) }
end
local entry = struct.pack('>I6I6', generation, until_ms) .. value
if until_ms > 0 then
  redis.call('SET', KEYS[5], entry, 'PXAT', text(until_ms))
else
  redis.call('SET', KEYS[5], entry)
end
if before > 0 and expires == until_ms then
  if after ~= before then count(after - before, until_ms) end
else
  if before > 0 then count(-before, expires) end
  count(after, until_ms)
end
return { 1, number, text(used) }
