-- What the Redis store does, each act as a whole: Redis runs a script alone, so that no other act comes in between.
--
-- KEYS[1]   the mark of the store, `{prefix}:schema`; every other key has the same prefix, and so the same slot
-- ARGV[1]   what the mark must be: a store that was emptied or is another's is never written to
-- ARGV[2]   the act; what follows is its arguments, times in seconds of the gateway's clock
--
-- client:ID {record}                                   clients:unused, clients:used   by registration, by last sign-in
-- login:ID  the record                                 logins                         by end
-- grant:ID  {record client tid oid}, grant:ID:tokens   grants                         by end
-- code:ID   {record grant spent}                       codes                          by end
-- refresh:ID {proof grant spent successor sealed}      refreshes, spent               by end, by end of grace
-- of:KIND:WHO  grants                                  assertions                     by end
-- revocations the last number, revocation its lines    key:NAME                       lease:NAME {holder until}
-- rate:NAME  when the next one is due, in microseconds of Redis's own clock

local mark = redis.call('GET', KEYS[1])
if mark ~= ARGV[1] then
  return redis.error_reply(mark and 'REPLACED the mark is of another store' or 'EMPTIED the mark of the store is missing')
end

local prefix = string.sub(KEYS[1], 1, -7)
local call = redis.call

local function at(name, id)
  return prefix .. name .. (id and (':' .. id) or '')
end

-- Whose grants a grant is among; HMGET gives false for a grant that is not there.
local function indices(id)
  local whose = call('HMGET', at('grant', id), 'client', 'tid', 'oid')
  if not whose[1] then return {} end
  return { at('of:client', whose[1]), at('of:tenant', whose[2]), at('of:user', whose[2] .. ':' .. whose[3]) }
end

local function forget_token(token)
  call('DEL', at('refresh', token))
  call('ZREM', at('refreshes'), token)
  call('ZREM', at('spent'), token)
end

local function forget_grant(id)
  for _, index in ipairs(indices(id)) do call('SREM', index, id) end
  for _, token in ipairs(call('SMEMBERS', at('grant', id) .. ':tokens')) do forget_token(token) end
  call('DEL', at('grant', id), at('grant', id) .. ':tokens')
  call('ZREM', at('grants'), id)
end

local function log(whose, before, kept)
  local number = call('INCR', at('revocations'))
  call('ZADD', at('revocation'), number, number .. ' ' .. before .. ' ' .. kept .. ' ' .. whose)
end

local function end_grant(id, before, kept)
  forget_grant(id)
  log('grant:' .. id, before, kept)
end

local function keep_token(token, proof, grant, expires)
  call('HSET', at('refresh', token), 'grant', grant, 'proof', proof)
  call('ZADD', at('refreshes'), expires, token)
  call('SADD', at('grant', grant) .. ':tokens', token)
end

local function expiry(set, member)
  return tonumber(call('ZSCORE', at(set), member) or 0)
end

-- Seconds, and within a second the order of arrival: a flood pushes out the oldest.
local function arrival(seconds)
  local number = call('INCR', at('arrivals')) % 1048576
  return string.format('%.0f', tonumber(seconds) * 1048576 + number)
end

-- Keeps the newest `max` of a set; gives the rest.
local function beyond(set, max)
  local extra = call('ZCARD', at(set)) - tonumber(max)
  if extra <= 0 then return {} end
  local oldest = call('ZRANGE', at(set), 0, extra - 1)
  call('ZREMRANGEBYRANK', at(set), 0, extra - 1)
  return oldest
end

local acts = {}

function acts.register_client(id, record, registered, max)
  if call('EXISTS', at('client', id)) == 1 then return redis.error_reply('ERR the client is there already') end
  call('HSET', at('client', id), 'record', record)
  call('ZADD', at('clients:unused'), arrival(registered), id)
  for _, old in ipairs(beyond('clients:unused', max)) do call('DEL', at('client', old)) end
  return 1
end

function acts.keep_client(id, record, registered)
  call('HSET', at('client', id), 'record', record)
  if not call('ZSCORE', at('clients:used'), id) then
    call('ZADD', at('clients:unused'), 'NX', arrival(registered), id)
  end
  return 1
end

function acts.client(id)
  return call('HGET', at('client', id), 'record')
end

-- Another may have kept something else since it was seen.
function acts.reseal_client(id, seen, record)
  if call('HGET', at('client', id), 'record') ~= seen then return 0 end
  call('HSET', at('client', id), 'record', record)
  return 1
end

function acts.begin_login(id, record, expires, max)
  call('SET', at('login', id), record)
  call('ZADD', at('logins'), expires, id)
  for _, old in ipairs(beyond('logins', max)) do call('DEL', at('login', old)) end
  return 1
end

function acts.login(id, now)
  if expiry('logins', id) <= tonumber(now) then return false end
  return call('GET', at('login', id))
end

function acts.take_login(id, now)
  local record = acts.login(id, now)
  call('DEL', at('login', id))
  call('ZREM', at('logins'), id)
  return record
end

function acts.issue_code(code, code_record, expires, grant, record, client, tid, oid)
  if call('EXISTS', at('grant', grant), at('code', code)) > 0 then
    return redis.error_reply('ERR the grant or the code is there already')
  end
  call('HSET', at('grant', grant), 'record', record, 'client', client, 'tid', tid, 'oid', oid)
  call('ZADD', at('grants'), expires, grant)
  for _, index in ipairs(indices(grant)) do call('SADD', index, grant) end
  call('HSET', at('code', code), 'record', code_record, 'grant', grant, 'spent', '0')
  call('ZADD', at('codes'), expires, code)
  if call('EXISTS', at('client', client)) == 1 then
    call('ZREM', at('clients:unused'), client)
    call('ZADD', at('clients:used'), expires, client)
  end
  return 1
end

function acts.code(code)
  return call('HMGET', at('code', code), 'record', 'grant')
end

function acts.redeem_code(code, now, before, kept)
  local found = call('HMGET', at('code', code), 'grant', 'spent')
  if not found[1] then return { 'unknown' } end
  if found[2] ~= '0' then
    end_grant(found[1], before, kept)
    return { 'replayed' }
  end
  if expiry('codes', code) <= tonumber(now) then return { 'unknown' } end
  local record = call('HGET', at('grant', found[1]), 'record')
  if not record then return { 'unknown' } end
  call('HSET', at('code', code), 'spent', '1')
  return { 'spent', found[1], record }
end

function acts.begin_refresh(token, proof, grant, expires)
  -- A grant that ended meanwhile gets no token.
  if call('EXISTS', at('grant', grant)) == 0 then return 0 end
  keep_token(token, proof, grant, expires)
  call('ZADD', at('grants'), expires, grant)
  return 1
end

function acts.present(token, client, now, grace, before, kept)
  local found = call('HMGET', at('refresh', token), 'grant', 'proof', 'spent', 'successor', 'sealed')
  if not found[1] then return { 'unknown' } end
  local grant = call('HMGET', at('grant', found[1]), 'record', 'client')
  if not grant[1] or grant[2] ~= client then return { 'unknown' } end
  if found[3] then
    local in_time = tonumber(now) < tonumber(found[3]) + tonumber(grace)
    local next = at('refresh', found[4] or '')
    if in_time and found[5] and call('EXISTS', next) == 1 and call('HEXISTS', next, 'spent') == 0 then
      return { 'superseded', found[1], grant[1], found[2], found[5] }
    end
    end_grant(found[1], before, kept)
    return { 'reused' }
  end
  if expiry('refreshes', token) <= tonumber(now) then return { 'unknown' } end
  return { 'current', found[1], grant[1], found[2] }
end

function acts.rotate(token, now, grace, successor, proof, sealed, expires, grant, record)
  local found = call('HMGET', at('refresh', token), 'grant', 'spent')
  if found[1] ~= grant or found[2] or call('EXISTS', at('grant', grant)) == 0 then return 0 end
  call('HSET', at('refresh', token), 'spent', now, 'successor', successor, 'sealed', sealed)
  call('ZADD', at('spent'), tonumber(now) + tonumber(grace), token)
  keep_token(successor, proof, grant, expires)
  call('HSET', at('grant', grant), 'record', record)
  call('ZADD', at('grants'), expires, grant)
  return 1
end

function acts.grant(id)
  return call('HGET', at('grant', id), 'record')
end

function acts.token(token)
  return call('HMGET', at('refresh', token), 'grant', 'proof')
end

function acts.grants_of(kind, who)
  if kind == 'everybody' then return call('ZRANGE', at('grants'), 0, -1) end
  return call('SMEMBERS', at('of:' .. kind, who))
end

-- Ends these grants; gives how many there were.
function acts.end_grants(before, kept, ...)
  local count = 0
  for _, id in ipairs({ ... }) do
    count = count + call('EXISTS', at('grant', id))
    end_grant(id, before, kept)
  end
  return count
end

function acts.log(whose, before, kept)
  log(whose, before, kept)
  return 1
end

function acts.revocations(after)
  local lines = call('ZRANGEBYSCORE', at('revocation'), '(' .. after, '+inf')
  table.insert(lines, 1, call('GET', at('revocations')) or '0')
  return lines
end

function acts.spend_assertion(id, expires)
  return call('ZADD', at('assertions'), 'NX', expires, id)
end

function acts.key(name, fresh)
  call('SET', at('key', name), fresh, 'NX')
  return call('GET', at('key', name))
end

function acts.known_key(name)
  return call('GET', at('key', name))
end

function acts.replace_key(name, seen, fresh)
  if call('GET', at('key', name)) ~= seen then return 0 end
  call('SET', at('key', name), fresh)
  return 1
end

function acts.lease(name, holder, now, till)
  local held = call('HMGET', at('lease', name), 'holder', 'until')
  if held[1] and held[1] ~= holder and tonumber(held[2]) > tonumber(now) then return 0 end
  call('HSET', at('lease', name), 'holder', holder, 'until', till)
  -- For a holder that died; by Redis's own clock, which only has to pass at about the same pace.
  call('EXPIRE', at('lease', name), 600)
  return 1
end

function acts.release(name, holder)
  if call('HGET', at('lease', name), 'holder') == holder then call('DEL', at('lease', name)) end
  return 1
end

-- GCRA (ITU-T I.371): one in `period` microseconds, `burst` of them at once; 0, or the milliseconds to wait.
function acts.count(name, period, burst)
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local due = math.max(tonumber(call('GET', at('rate', name)) or 0), now)
  local wait = due - (burst - 1) * period - now
  if wait > 0 then return math.ceil(wait / 1000) end
  due = due + period
  call('SET', at('rate', name), string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
  return 0
end

-- Forgets up to `max` of what is over; gives how many that were. A client goes when it was never used since the first
-- time, or by nobody since the second.
function acts.purge(now, unused, idle, max)
  local gone = 0
  local function over(set, time, forget)
    for _, id in ipairs(call('ZRANGEBYSCORE', at(set), '-inf', time, 'LIMIT', 0, max)) do
      gone = gone + (forget(id) or 1)
      call('ZREM', at(set), id)
    end
  end
  over('logins', now, function(id) call('DEL', at('login', id)) end)
  over('assertions', now, function() end)
  over('refreshes', now, function(token)
    local grant = call('HGET', at('refresh', token), 'grant')
    if grant then call('SREM', at('grant', grant) .. ':tokens', token) end
    forget_token(token)
  end)
  over('grants', now, forget_grant)
  over('codes', tonumber(now) - 600, function(code) call('DEL', at('code', code)) end)
  over('spent', now, function(token) call('HDEL', at('refresh', token), 'sealed') end)
  over('clients:unused', string.format('%.0f', tonumber(unused) * 1048576 + 1048575), function(id) call('DEL', at('client', id)) end)
  for _, id in ipairs(call('ZRANGEBYSCORE', at('clients:used'), '-inf', idle, 'LIMIT', 0, max)) do
    -- One with a grant is in use.
    if call('SCARD', at('of:client', id)) > 0 then
      call('ZADD', at('clients:used'), now, id)
    else
      call('DEL', at('client', id))
      call('ZREM', at('clients:used'), id)
      gone = gone + 1
    end
  end
  for _, line in ipairs(call('ZRANGE', at('revocation'), 0, max)) do
    -- Not in the order of their ends: what operators ended is kept for longer.
    local kept = string.match(line, '^%d+ %d+ (%d+) ')
    if tonumber(kept) <= tonumber(now) then
      call('ZREM', at('revocation'), line)
      gone = gone + 1
    end
  end
  return gone
end

return acts[ARGV[2]](unpack(ARGV, 3))
