-- Carries out one operation on one entry, as Operation::apply in operation.rs defines it. The same
-- tests hold both. Follows entries.lua.
-- KEYS: 5 the entry, 6 scratch space
-- ARGV: 1 operation, 2 value or summand, 3 expected value, 4 time to live in ms (-1 for ever, -2 to
--   keep the present one), 5 quota, 6 bytes that the entry counts besides its value, 7 length of the
--   longest value
-- Returns: 1 done, 0 not done, -1 over quota, -2 too long, -3 not a number; the value of the
--   counter; the bytes in use.
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[5])
generation, used = tonumber(found[1] or '0'), tonumber(found[2] or '0')
if is_foreign(found[3]) then return foreign() end
local overhead = tonumber(ARGV[6])
local present, expires, before = parse(found[3], overhead)

local operation = ARGV[1]
local value, number, ttl = ARGV[2], '0', tonumber(ARGV[4])
if operation == 'delete' then
  if present then remove(KEYS[5], before, expires) end
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
  if present then ttl = KEEP end
end

if #value > tonumber(ARGV[7]) then return { -2, '0', text(used) } end
local after = overhead + #value
if after > before and used + after - before > tonumber(ARGV[5]) then return { -1, '0', text(used) } end
write(KEYS[5], value, ttl, before, expires, after)
return { 1, number, text(used) }
