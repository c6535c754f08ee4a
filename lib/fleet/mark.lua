--!df flags=allow-undeclared-keys
-- Renews or releases the claim of one holder on an instance. Returns 1 if that holder had it.
-- KEYS: the hash of the instance. ARGV: holder, time to live in ms; 0 releases.
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local name = string.match(redis.call('HGET', KEYS[1], 'gracekit') or '', '^%d+ (.*)$')
if name ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('HDEL', KEYS[1], 'gracekit') end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'gracekit', string.format('%.0f %s', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], name))
return 1
