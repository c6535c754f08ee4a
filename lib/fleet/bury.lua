-- Moves one job from its queue to Sidekiq's dead set, and trims that as Sidekiq does (DeadSet#kill). Nothing happens if
-- the job is not in the queue.
-- KEYS: the queue, the dead set. ARGV: the job, exactly as it is in the queue; the most that the dead set may hold; how
-- long, in s; the deadline, in ms.
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[4]) then return 'late' end
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 'taken' end
redis.call('ZADD', KEYS[2], time[1] .. '.' .. string.format('%06d', time[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', time[1] - ARGV[3]))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -ARGV[2])
return 'moved'
