-- Gives an instance the right to be restarted, or says why not. Redis runs it as one step.
-- KEYS: the set of processes. ARGV: prefix of keys, identity, least number of others, time to live (ms),
-- any queue (0 or 1), who claims, how old the heartbeat of another may be (ms), how old one of the living (ms),
-- when it is too late (ms).
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local prefix, me, least, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local any, by, fresh, lifetime = ARGV[5] == '1', ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[9]) then return cjson.encode({ answer = 'late' }) end

-- A list of strings; nil if that is something else.
local function queues(list)
  if type(list) ~= 'table' or (#list == 0 and next(list) ~= nil) then return nil end
  for _, queue in ipairs(list) do
    if type(queue) ~= 'string' then return nil end
  end
  return list
end

-- What it said at its last heartbeat; nil if that is gone, or cannot be read.
local function look(id)
  local hash = redis.pcall('HMGET', prefix .. id, 'info', 'beat', 'quiet', 'gracekit')
  local beat = not hash.err and hash[1] and tonumber(hash[2])
  if not (beat and beat > 0 and beat < 1e11) then return nil end
  local ok, info = pcall(cjson.decode, hash[1])
  local list = ok and type(info) == 'table' and queues(info.queues)
  if not list then return nil end
  local silence, left = now - beat * 1000, redis.call('PTTL', prefix .. id)
  if left > 0 and left <= lifetime then silence = math.max(silence, lifetime - left)
  else silence = math.abs(silence) end -- nothing but its clock tells
  local expires, name = string.match(hash[4] or '', '^(%d+) (.*)$')
  expires = tonumber(expires) or 0
  return { silence = silence, quiet = hash[3] == 'true', queues = list, name = name,
    holder = expires > now and name, left = math.min(expires - now, 1e12) }
end

if redis.call('SISMEMBER', KEYS[1], me) == 0 then return cjson.encode({ answer = 'absent' }) end
local mine = look(me)
if not mine then return cjson.encode({ answer = 'dead', silence = -1 }) end
if mine.silence >= lifetime then return cjson.encode({ answer = 'dead', silence = mine.silence }) end
if mine.holder and mine.holder ~= by then
  return cjson.encode({ answer = 'held', holder = mine.holder, left = mine.left })
end

local served, open = {}, 0
for _, queue in ipairs(mine.queues) do
  if served[queue] == nil and not any then served[queue], open = false, open + 1 end
end
local n = { peers = 0, strangers = 0, quiet = 0, claimed = 0, dead = 0 }
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if n.peers >= least and (open == 0 or least == 0) then break end -- Redis has others to serve
  local it = id ~= me and look(id)
  local kind = 'peers'
  if not it or it.silence >= fresh then kind = 'dead'
  elseif it.holder then kind = 'claimed'
  elseif it.quiet then kind = 'quiet'
  elseif not any then
    kind = 'strangers'
    for _, queue in ipairs(it.queues) do
      if served[queue] == false then open = open - 1 end
      if served[queue] ~= nil then served[queue], kind = true, 'peers' end
    end
  end
  if id ~= me then n[kind] = n[kind] + 1 end
end

n.answer, n.unserved = 'granted', {}
for queue, is in pairs(served) do
  if not is then table.insert(n.unserved, queue) end
end
if n.peers < least then n.answer = 'few'
elseif least > 0 and #n.unserved > 0 then n.answer = 'unserved'
end
-- Its restart has begun under a claim that was given: it takes no jobs, and would never again.
if mine.name == by and mine.quiet then n.answer = 'granted' end
if n.answer == 'granted' then
  redis.call('HSET', prefix .. me, 'gracekit', string.format('%.0f %s', now + ttl, by))
end
if #n.unserved == 0 then n.unserved = nil end -- cjson's empty table is an object
return cjson.encode(n)
