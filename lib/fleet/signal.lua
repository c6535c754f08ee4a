--!df flags=allow-undeclared-keys
-- Leaves a signal for an instance where it reads one at each heartbeat, as Sidekiq's own API does.
-- KEYS: the set of processes, the list of its signals. ARGV: identity, signal, its lifetime in s, the deadline in ms.
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[4]) then return 'late' end
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then return 'absent' end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 'sent'
