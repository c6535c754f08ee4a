-- Leaves a signal for an instance where it reads one at each heartbeat, as Sidekiq's own API does.
-- KEYS: the list of its signals. ARGV: the signal, its lifetime in s, the deadline in ms.
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[3]) then return 'late' end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 'sent'
