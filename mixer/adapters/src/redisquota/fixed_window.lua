-- A fixed window, which begins with the first grant after the one before has ended.
-- KEYS: begin and sum of the window; not used; answer to this call.
-- ARGV: limit, window (microseconds), not used, amount, best effort, has a deduplication id, time ("" is ours).
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local amount, best_effort, deduplicate = tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1'
local now = tonumber(ARGV[7])
if not now then
  if redis.replicate_commands then redis.replicate_commands() end
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local function text(number) return string.format('%.0f', number) end

if deduplicate then
  local known = redis.call('HMGET', KEYS[3], 'token', 'expire')
  if known[1] and tonumber(known[2]) > now then
    return { known[1], text(tonumber(known[2]) - now) }
  end
end

local known = redis.call('HMGET', KEYS[1], 'begin', 'used')
local begin, used = tonumber(known[1] or '') or now, tonumber(known[2] or '0')
-- A clock that was set back does not make a window longer.
if now >= begin + window or now < begin then begin, used = now, 0 end

local granted = 0
if amount < 0 then
  granted = math.min(-amount, used)
  used = used - granted
else
  local available = math.max(limit - used, 0)
  if amount <= available then
    granted = amount
  elseif best_effort then
    granted = available
  end
  used = used + granted
end
local left = begin + window - now
if used > 0 then
  redis.call('HSET', KEYS[1], 'begin', text(begin))
  redis.call('HSET', KEYS[1], 'used', text(used))
  redis.call('PEXPIRE', KEYS[1], text(math.ceil(left / 1000)))
else
  redis.call('DEL', KEYS[1])
end

if deduplicate then
  redis.call('HSET', KEYS[3], 'token', text(granted))
  redis.call('HSET', KEYS[3], 'expire', text(now + left))
  redis.call('PEXPIRE', KEYS[3], text(math.ceil(left / 1000)))
end
return { text(granted), text(left) }
