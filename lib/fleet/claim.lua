--!df flags=allow-undeclared-keys
-- Gives a claim on some instances, or says why not. Redis runs it as one step. Dragonfly needs the line above, because
-- the keys of the other instances are known only when the script runs.
-- KEYS: the set of processes. ARGV: the prefix of all keys; the request in JSON: instances (identity and host of each),
-- holder, min_peers, ttl, any_queue, private (Lua patterns of queues), fresh (how old the heartbeat of another instance
-- may be), lifetime (how old that of one that lives), boot (how long after its claim a restarted instance may take to be
-- back); the deadline. Times are in ms.
if redis.replicate_commands then redis.replicate_commands() end -- a write after TIME, before Redis 5

local prefix, r = ARGV[1], cjson.decode(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[3]) then return 'late' end

-- A list of strings; nil if it is something else.
local function strings(list)
  if type(list) ~= 'table' or (#list == 0 and next(list) ~= nil) then return nil end
  for _, item in ipairs(list) do
    if type(item) ~= 'string' then return nil end
  end
  return list
end

-- What an instance wrote at its last heartbeat; nil if that has expired or cannot be read. An error of Redis is not that:
-- it ends the script.
local failure
local function read(id)
  local hash = redis.pcall('HMGET', prefix .. id, 'info', 'beat', 'quiet', 'gracekit')
  if hash.err then
    if not string.find(hash.err, 'WRONGTYPE', 1, true) then failure = failure or hash.err end
    return nil
  end
  local beat = hash[1] and tonumber(hash[2])
  if not (beat and beat > 0 and beat < 1e11) then return nil end
  local ok, info = pcall(cjson.decode, hash[1])
  local queues = ok and type(info) == 'table' and strings(info.queues)
  if not queues then return nil end
  local since, left = now - beat * 1000, redis.call('PTTL', prefix .. id)
  if left > 0 and left <= r.lifetime then since = r.lifetime - left
  else since = math.abs(since) end -- there is nothing but its own clock
  local expires, name = string.match(hash[4] or '', '^(%d+) (.*)$')
  expires = tonumber(expires) or 0
  return { since = since, quiet = hash[3] == 'true', queues = queues, name = name,
    holder = expires > now and name, left = math.min(expires - now, 1e12) }
end

-- A name as it is written where a hostname is no name: a_b for a-b.
local function plain(name) return '_' .. string.gsub(string.lower(name), '%W', '_') .. '_' end

-- Whether a queue is for one host alone: it carries the hostname as a word of its name, or matches a pattern.
local function private(queue, host)
  if string.find(plain(queue), plain(host), 1, true) then return true end
  for _, pattern in ipairs(r.private) do
    if string.find(queue, pattern) then return true end
  end
  return false
end

local mine, begun, any = {}, true, r.any_queue
local served, open, shared = {}, 0, false -- served: which of the queues another instance serves
for _, instance in ipairs(r.instances) do
  local id = instance.identity
  if redis.call('SISMEMBER', KEYS[1], id) == 0 then return cjson.encode({ answer = 'absent', identity = id }) end
  local me = read(id)
  if failure then return redis.error_reply(failure) end
  if not me then return cjson.encode({ answer = 'dead', identity = id, since = -1 }) end
  if me.since >= r.lifetime then return cjson.encode({ answer = 'dead', identity = id, since = me.since }) end
  if me.holder and me.holder ~= r.holder then
    return cjson.encode({ answer = 'held', identity = id, holder = me.holder, left = me.left })
  end
  mine[id] = true
  begun = begun and me.name == r.holder and me.quiet
  for _, queue in ipairs(me.queues) do
    if not private(queue, instance.host) then
      shared = true
      if served[queue] == nil and not any then served[queue], open = false, open + 1 end
    end
  end
end
any = any or not shared -- where all queues are private, any instance is as good as another

local n = { peers = 0, other_queues = 0, expected = 0, waiting = {} }
local unknown = false -- there are instances whose queues are not known
local server = {} -- by queue: an instance that serves it, but is not available now
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if n.peers >= r.min_peers and (open == 0 or r.min_peers == 0) then break end -- Redis has others to serve
  if not mine[id] then
    local it = read(id)
    if failure then return redis.error_reply(failure) end
    unknown = unknown or not it
    local why -- it is not available
    if not it or it.since >= r.fresh then why = ' (no heartbeat)'
    elseif it.holder then why = ' (claimed)'
    elseif it.quiet then why = ' (quiet)'
    end
    local shares = any
    for _, queue in ipairs(it and it.queues or {}) do
      if served[queue] ~= nil then
        shares = true
        if why then server[queue] = server[queue] or id .. why
        elseif not served[queue] then served[queue], open = true, open - 1
        end
      end
    end
    if it and not shares then n.other_queues = n.other_queues + 1
    elseif not why then n.peers = n.peers + 1
    else
      n.expected = n.expected + 1
      if #n.waiting < 3 then table.insert(n.waiting, id .. why) end
    end
  end
end

-- What has exited under a claim has left nothing in Redis, and has a successor soon: it is waited for.
local restarts, restarted = prefix .. 'gracekit:restarts', nil
if n.peers < r.min_peers or open > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', restarts, now, '+inf')) do
    if redis.call('SISMEMBER', KEYS[1], id) == 0 then
      restarted = 'the successor of ' .. id
      n.expected = n.expected + 1
      if #n.waiting < 3 then table.insert(n.waiting, restarted) end
    end
  end
end

n.answer, n.unserved, n.nobodys = 'granted', {}, {}
for queue, is in pairs(served) do
  server[queue] = server[queue] or restarted
  if not is then table.insert(server[queue] and n.unserved or n.nobodys, queue) end
end
local never = #n.nobodys > 0 and not unknown and n.peers + n.expected >= r.min_peers -- whatever becomes of the others
if n.peers < r.min_peers and not never then n.answer = 'few'
elseif r.min_peers > 0 and #n.unserved + #n.nobodys > 0 then
  n.answer, n.waiting = 'unserved', {}
  for _, queue in ipairs(n.unserved) do table.insert(n.waiting, server[queue]) end
end
-- A restart that has begun under a claim goes on: the instance takes no jobs, and otherwise would stay quiet forever.
if begun then n.answer = 'granted' end
if n.answer == 'granted' then
  for id in pairs(mine) do
    redis.call('ZADD', restarts, now + r.ttl + r.boot, id)
    redis.call('HSET', prefix .. id, 'gracekit', string.format('%.0f %s', now + r.ttl, r.holder))
  end
  redis.call('ZREMRANGEBYSCORE', restarts, '-inf', now) -- last: after another write Redis allows ZADD on full memory
  local last = redis.call('ZREVRANGE', restarts, 0, 0, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', restarts, string.format('%.0f', tonumber(last))) -- a short claim does not shorten a long one
end
for _, list in ipairs({ 'waiting', 'unserved', 'nobodys' }) do
  if #n[list] == 0 then n[list] = nil end -- cjson's empty table is an object
end
return cjson.encode(n)
