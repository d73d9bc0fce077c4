-- A rolling window: what was granted by bucket, which counts until its newest grant is as old as the window.
-- KEYS: amounts by bucket and their sum; buckets by the time of their newest grant; answer to this call.
-- ARGV: limit, window, bucket (microseconds), amount, best effort, has a deduplication id, time ("" is ours).
local limit, window, bucket = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local amount, best_effort, deduplicate = tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1'
local now = tonumber(ARGV[7])
if not now then
  if redis.replicate_commands then redis.replicate_commands() end
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local function text(number) return string.format('%.0f', number) end
local window_ms = text(math.ceil(window / 1000))

if deduplicate then
  local known = redis.call('HMGET', KEYS[3], 'token', 'expire')
  if known[1] and tonumber(known[2]) > now then
    return { known[1], text(tonumber(known[2]) - now) }
  end
end

-- Time does not run backwards here.
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local time = now
if newest[2] and tonumber(newest[2]) > time then time = tonumber(newest[2]) end

local used = tonumber(redis.call('HGET', KEYS[1], 'used') or '0')
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(time - window))) do
  used = used - tonumber(redis.call('HGET', KEYS[1], old) or '0')
  redis.call('HDEL', KEYS[1], old)
  redis.call('ZREM', KEYS[2], old)
end

local granted = 0
if amount < 0 then
  local left = -amount
  while left > 0 do
    local last = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
    if not last then break end
    local part = tonumber(redis.call('HGET', KEYS[1], last) or '0')
    if part > left then
      redis.call('HSET', KEYS[1], last, text(part - left))
      part = left
    else
      redis.call('HDEL', KEYS[1], last)
      redis.call('ZREM', KEYS[2], last)
    end
    left = left - part
  end
  granted = -amount - left
  used = used - granted
else
  local available = math.max(limit - used, 0)
  if amount <= available then
    granted = amount
  elseif best_effort then
    granted = available
  end
  if granted > 0 then
    local number = text(math.floor(time / bucket))
    redis.call('HSET', KEYS[1], number, text(tonumber(redis.call('HGET', KEYS[1], number) or '0') + granted))
    redis.call('ZADD', KEYS[2], text(time), number)
    used = used + granted
  end
end
redis.call('HSET', KEYS[1], 'used', text(used))
redis.call('PEXPIRE', KEYS[1], window_ms)
redis.call('PEXPIRE', KEYS[2], window_ms)

if deduplicate then
  redis.call('HSET', KEYS[3], 'token', text(granted))
  redis.call('HSET', KEYS[3], 'expire', text(now + window))
  redis.call('PEXPIRE', KEYS[3], window_ms)
end
return { text(granted), text(window) }
