-- Shared by all scripts: the keys of one shard, and the functions that keep its indices true. Each script carries only
-- those statements of this file that it needs, because Redis runs all of a script at every call. A statement begins
-- with `local` at the beginning of a line.
--
-- threads   HASH  thread -> "priority head tail ..." per tube, lower priority first; tail is exclusive
-- ready     ZSET  threads that may be bound, by the time of their oldest request
-- blocked   ZSET  threads that wait as a whole, by the time at which they are free again: after a back-off. A pause, a
--                 quarantine and a stop have no end, and a score each
-- exhausted HASH  thread -> "priority ms": since when a thread stands still whose first request of a tube has no try left,
--                 and of which tube. Its failure says why. A pause may last beside it, and then has its score
-- oldest    ZSET  thread/priority, by the time of its oldest request
-- deep      ZSET  threads with two requests or more, by depth
-- failures  HASH  thread/priority -> "sequence last attempts crashes error": requests from sequence to last are handed
--                 out one by one, to find the one that fails
-- failed    ZSET  threads by the time of their last failure, the last 1,000 threads of a day; history HASH thread -> its last
--                 ten failures, the newest first: "ms priority sequence attempt, bytes of error, bytes of traceback, error
--                 traceback" each
-- counters  HASH  depth, registered, duplicates, settled, dead, busy_us, sequence, fence, born, reconciled, paused,
--                 polled (when a worker last asked for threads), largest (bytes of the largest message so far),
--                 latest (about the latest time seen, by which a clock that was set back is noticed), shift ("ms, number
--                 of a sorted set, first end of those that are left, how many with that end stay": how far the waits are
--                 shifted since),
--                 format (of all these keys; without it, the format of this release)
-- wake      LIST  tokens; popping one means "poll". OWNER:news is read by the holder of drained threads: "bytes of thread,
--                 fence, number of the holder's last call that was carried out, priority, sequence, thread message" of one
--                 that got a request. The message, with its priority and sequence, is there if it was handed out to the
--                 holder; otherwise the holder fetches the request
-- due       ZSET  numbers of delayed requests by the time they are due; later HASH number -> "bytes of thread, priority,
--                 thread message"; cancelled ZSET numbers of recently cancelled ones, by time
-- dead      ZSET  numbers of dead letters by time; letters HASH number -> "bytes of thread, priority, sequence,
--                 attempts, bytes of reason, thread reason message"
-- drops     LIST  what people dropped, the newest first: "ms, bytes of actor, bytes of thread, requests, number of the first
--                 dead letter, actor thread reason"
-- identities ZSET identities of recently registered requests, by the end of the window in which duplicates are left out;
--                 firsts HASH identity -> "sequence priority thread" of the request that was registered;
--                 named HASH number of a delayed request -> its identity, which cancelling it frees
-- schedules HASH  name -> "bytes of timing, bytes of thread, priority, timing thread message"; occurrences ZSET name by
--                 the time of the next occurrence; skipping HASH name -> "sequence priority thread" of the last occurrence,
--                 '' where there is none yet: of schedules that leave occurrences out while the last one waits
-- layout    STRING "number threads before": keys are placed on the threads number:0 to number:threads-1; `before` is the
--                  number of threads of the previous layout (0: there was none)
-- old       ZSET  threads of the previous layout that are not drained, by residue class. Threads of two layouts can share
--                 keys only if their numbers have the same remainder modulo the greatest common divisor of the two
--                 numbers of threads: that remainder is their residue class
-- parked    ZSET  threads that wait for old threads of their residue class, by residue class
-- unparking ZSET  residue classes without old threads, whose parked threads become ready step by step; and `unlisted`
--                 while old threads are listed step by step, with the number of those not looked at as a negative score
-- cordoned  ZSET  names of workers that get no new threads, by the time until which they get none
-- leases    ZSET  bound threads, by expiry
-- workers   ZSET  "owner version concurrency started tries" of workers, by the time at which each last told of itself; tries
--                 is how often it tries a request, and absent where an earlier release told
-- progress:THREAD STRING "fence first ms done of note": what its holder last reported of the batch that begins with the
--                 request `first`; `of` is - where the whole is unknown. It expires soon after the lease that it came with
-- NAME:caller STRING number of the last call of a caller that numbers its calls, and the answer, or for bind the threads
--                 that it bound. It expires some minutes after the last call. No key of a tube ends in such a word, so a
--                 pattern of a user's rights is exact
-- held      HASH  thread -> "fence owner since lease priority first last", and " ageing call": how priorities age (0: they
--                 do not), and the number of the holder's last call that was carried out (0: the bind), with a 0 before it
--                 if what is in hand came after that call, so that the holder may not know of it yet. A 0 before `ageing`
--                 says that the worker has nothing in a call but the request in hand: earlier releases read the same number
-- acts      HASH  thread -> why an act of several steps has paused it; the last step resumes it. A pause that a person set
--                 has no field here
-- pauses    HASH  thread, or '' for the handler -> "ms, end, bytes of actor, actor reason": which person paused
--                 it until when ('-' where it is for somebody to end), and why; resumes ZSET thread, or '', by that end
-- quarantine HASH "thread NAME", "delayed NUMBER" or "schedule NAME" -> why its record cannot be read. Such a thread is
--                 blocked, and such a delayed request or schedule is not due
--
-- Later releases may add words at the end of `layout`, `held`, `workers` and `shift`: they are skipped, and lost where this
-- release writes the record. Other records end in free text, or in the next of their kind: they stay as they are.
--
-- Redis does not roll back what a script wrote before it failed. So a script reads what it needs before it writes, and
-- calls `check_kinds` before it writes to keys that it has not read: a key of another kind ends the script there. A
-- record that cannot be read never ends a script: its reader returns nil, and the thread or request concerned stays
-- behind.
--
-- Numbers above 1e14 must be written by `integer`: Lua's own notation rounds them. Writing a number takes as long as a
-- short command, so a number that is only passed on stays the text that it came as.

local base, lock = KEYS[1], KEYS[2]
local THREADS = base .. ':threads'
local READY = base .. ':ready'
local BLOCKED = base .. ':blocked'
local OLDEST = base .. ':oldest'
local DEEP = base .. ':deep'
local FAILURES = base .. ':failures'
local FAILED = base .. ':failed'
local HISTORY = base .. ':history'
local COUNTERS = base .. ':counters'
local WAKE = base .. ':wake'
local DEAD = base .. ':dead'
local LETTERS = base .. ':letters'
local DROPS = base .. ':drops'
local DUE = base .. ':due'
local LATER = base .. ':later'
local CANCELLED = base .. ':cancelled'
local IDENTITIES = base .. ':identities'
local FIRSTS = base .. ':firsts'
local NAMED = base .. ':named'
local SCHEDULES = base .. ':schedules'
local OCCURRENCES = base .. ':occurrences'
local SKIPPING = base .. ':skipping'
local LAYOUT = base .. ':layout'
local OLD = base .. ':old'
local PARKED = base .. ':parked'
local UNPARKING = base .. ':unparking'
local LEASES = lock .. ':leases'
local HELD = lock .. ':held'
local CORDONED = lock .. ':cordoned'
local WORKERS = lock .. ':workers'
local QUARANTINE = base .. ':quarantine'
local ACTS = base .. ':acts'
local PAUSES = base .. ':pauses'
local RESUMES = base .. ':resumes'
local EXHAUSTED = base .. ':exhausted'
local WAKE_LIMIT, CHUNK, STEP = 16, 4000, 1000

-- Of one thread: each of its tubes is read in every step about the thread.
local MOST_PRIORITIES = 100
-- Of each kind of thread that a bind frees, and of delayed requests that it moves: each may have MOST_PRIORITIES tubes.
local SWEEP, CALLER_SECONDS = '30', '600'
local PROMOTED_BYTES = 4194304

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

-- Our times have thirteen digits at most.
local FIRST_LONG_MOMENT = 1e13

-- A change of what the keys mean takes the next number; see docs/architecture.md.
local FORMAT = '2'

local woken, depth_change, settled = 0, 0, 0

-- `rarely().name(...)` calls a function of this file that is created only then: creating a function takes longer than
-- most functions run.
local rare, make_rare
local function rarely()
  if not rare then rare = make_rare() end
  return rare
end

-- Data of another format are left alone. `format` is what that counter says, if the caller has read it.
local function check_format(format)
  if format == nil then format = redis.pcall('HGET', COUNTERS, 'format') end
  if not format or format == FORMAT then return end
  local number = type(format) == 'string' and string.match(format, '^%d+$')
  if number then error({ err = 'FORMAT ' .. number .. ' ' .. FORMAT .. ' ' .. base }) end
end

-- `%d` takes a third of the time of `%.0f`, but has no room for our numbers where Redis was built for 32 bits.
local now_text, INTEGER = string.format('%d', now), '%d'
if tonumber(now_text) ~= now then now_text, INTEGER = string.format('%.0f', now), '%.0f' end

local function integer(number)
  return string.format(INTEGER, number)
end

-- One command on a key with any number of arguments, at most CHUNK at a time, as Lua's stack is limited. For many
-- threads that is faster than a command each.
local function in_chunks(arguments, command, key)
  for from = 1, #arguments, CHUNK do
    redis.call(command, key, unpack(arguments, from, math.min(from + CHUNK - 1, #arguments)))
  end
end

-- The answer to a numbered call, as the third key keeps it. Nil: the call is new, and must be carried out. The first
-- answer: the call comes again. False: it comes late, after newer calls, and nothing reads its answer.
local function stored_answer(number)
  local last, answer = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+) (.*)$')
  if not last or tonumber(last) < number then return nil end
  local is_readable, earlier = pcall(cmsgpack.unpack, answer)
  return tonumber(last) == number and is_readable and earlier
end

local function store_answer(number, answer)
  redis.call('SET', KEYS[3], number .. ' ' .. cmsgpack.pack(answer), 'EX', CALLER_SECONDS)
  return answer
end

-- The records of many threads, false for threads without one.
local function records_of(key, threads)
  local records = {}
  if #threads > 0 and #threads <= CHUNK then return redis.call('HMGET', key, unpack(threads)) end
  for from = 1, #threads, CHUNK do
    local part = redis.call('HMGET', key, unpack(threads, from, math.min(from + CHUNK - 1, #threads)))
    for i, record in ipairs(part) do records[from + i - 1] = record end
  end
  return records
end

-- The keys of the shard by the kind of their values. Their names are repeated here, because each constant that a
-- function captures costs time in every call of every script that carries the function.
local function keys_by_kind()
  local keys = {}
  for kind, names in pairs({
    hash = ':threads :failures :counters :later :letters :firsts :schedules :skipping :quarantine :history :acts '
      .. ':named :pauses :exhausted lock:held',
    zset = ':ready :blocked :oldest :deep :dead :due :cancelled :identities :occurrences :old :parked :unparking :failed '
      .. ':resumes lock:leases lock:cordoned lock:workers',
    list = ':wake :drops',
    string = ':layout',
  }) do
    keys[kind] = {}
    for prefix, name in string.gmatch(names, '(%l*)(:%l+)') do
      table.insert(keys[kind], (prefix == 'lock' and lock or base) .. name)
    end
  end
  return keys
end

-- The command that reads the size of a key of a kind, and is refused for a key of another kind.
local function size_of(kind, key)
  local commands = { hash = 'HLEN', zset = 'ZCARD', list = 'LLEN', string = 'GET' }
  return commands[kind], key
end

-- As redis.call, but returns nil where the key, or the number in it, is of a kind that the command does not take.
-- Counters that are only reported are written so: a repair puts them right.
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  for _, cause in ipairs({ '^WRONGTYPE', 'hash value is not an integer', 'would overflow' }) do
    if string.find(answer.err, cause) then return nil end
  end
  error(answer)
end

-- Whether this can be the number of a request: an integer, and neither huge, nor infinite, nor NaN. Numbers may double
-- before they are no longer exact.
local function is_integer(number)
  return number ~= nil and number >= -2 ^ 52 and number <= 2 ^ 52 and number % 1 == 0
end

-- Whether a name is UTF-8, so that Python can read it.
local function is_text(name)
  if not string.find(name, '[\128-\255]') then return true end
  for _, character in ipairs({ '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]',
                               '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
                               '\240[\144-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
                               '[\241-\243][\128-\191][\128-\191][\128-\191]' }) do
    name = string.gsub(name, character, '.')
  end
  return not string.find(name, '[\128-\255]')
end

local function list_of(thread, priority)
  return base .. '/' .. thread .. '/' .. priority
end

-- The time at which a message was registered. A message without a time is not ours, and counts as new.
local function stamp_of(message)
  return string.match(message or '', '^%d%d%d%d%d%d%d%d%d%d%d%d%d') or now_text
end

-- The tubes of a thread by its record: none without a record, nil where it cannot be read.
local function read_tubes(text)
  local tubes, at = {}, 1
  while text and at <= #text do
    local priority, first, last, after = string.match(text, '^(%-?%d+) (%-?%d+) (%-?%d+) ?()', at)
    local head, tail = tonumber(first), tonumber(last)
    if not head or head < -2 ^ 52 or head >= tail or tail > 2 ^ 52 then return nil end
    if #priority > 9 and math.abs(tonumber(priority)) >= 2 ^ 31 then return nil end
    tubes[#tubes + 1] = { priority = priority, head = head, tail = tail }
    at = after
  end
  return tubes
end

local function tubes_of(thread)
  return read_tubes(redis.call('HGET', THREADS, thread))
end

-- The layout: false where there is none, nil where it cannot be read.
local layout
local function known_layout()
  if layout == nil then
    local text = redis.call('GET', LAYOUT)
    local number, threads, before = string.match((text or '') .. ' ', '^(%d+) (%d+) (%d+) ')
    number, threads, before = tonumber(number), tonumber(threads), tonumber(before)
    if not text then
      layout = false
    elseif is_integer(number) and is_integer(threads) and is_integer(before) and threads > 0 then
      layout = { number = number, threads = threads, before = before }
    end
  end
  return layout
end

-- The layout, or an error where it cannot be read: without it, it is unknown which requests must wait for which others.
local function layout_in_force()
  if known_layout() == nil then error({ err = 'GARBAGE ' .. LAYOUT .. ' holds no layout' }) end
  return layout
end

-- Ends the script, before it writes, if a key of the shard holds values of another kind. That takes as long as 25
-- commands, so scripts that are called often call it only in their rare steps.
local are_kinds_checked
local function check_kinds()
  if are_kinds_checked then return end
  for kind, keys in pairs(keys_by_kind()) do
    for _, key in ipairs(keys) do redis.call(size_of(kind, key)) end
  end
  if redis.call('EXISTS', base .. ':old', base .. ':unparking') > 0 then layout_in_force() end
  are_kinds_checked = true
end

-- The thread of a request now: one routed by key follows the layout in force, whenever it was registered.
local function thread_in_force(thread, message)
  local key_hash = string.match(message, '^#(%x%x%x%x%x%x%x%x)', 14)
  if not key_hash or not layout_in_force() then return thread end
  return layout.number .. ':' .. tonumber(key_hash, 16) % layout.threads
end

-- Whether old threads are being drained, and this thread may be one of a layout.
local is_moving
local function may_move(thread)
  if not string.find(thread, ':', 1, true) then return false end
  if is_moving == nil then is_moving = redis.call('EXISTS', base .. ':old', base .. ':unparking') > 0 end
  return is_moving
end

local function common_divisor(a, b)
  while b > 0 do a, b = b, a % b end
  return a
end

-- Residue class and number of the layout of a thread; nil for a thread that is not of a layout.
local function residue_of(thread)
  local number, rank = string.match(thread, '^(%d+):(%d+)$')
  if not layout_in_force() or not number then return nil end
  return tonumber(rank) % common_divisor(layout.threads, layout.before), tonumber(number)
end

-- How many threads of the previous layout have not been looked at. They are in the order of their residue classes.
local UNLISTED, LISTED_AT_ONCE = 'unlisted', 1000
local function count_unlisted()
  if not layout_in_force() then return 0 end
  return math.min(-tonumber(redis.call('ZSCORE', UNPARKING, UNLISTED) or 0), layout.before)
end

local function class_size()
  return layout.before / common_divisor(layout.threads, layout.before)
end

-- Whether a residue class has old threads, or may have: not all of its threads have been looked at.
local function has_old(residue)
  if redis.call('ZCOUNT', OLD, residue, residue) > 0 then return true end
  local unlisted = count_unlisted()
  return unlisted > 0 and layout.before - unlisted < (residue + 1) * class_size()
end

-- Park a thread if it has to wait for old ones; returns whether it has.
local function park(thread)
  local residue, number = residue_of(thread)
  if not residue or number ~= layout.number then return false end
  if not has_old(residue) and not redis.call('ZSCORE', UNPARKING, residue) then return false end
  redis.call('ZADD', PARKED, residue, thread)
  return true
end

-- Threads that wait for a residue class without old threads may be bound.
local function open_class(residue)
  if redis.call('ZCOUNT', PARKED, residue, residue) > 0 then
    redis.call('ZADD', UNPARKING, residue, residue)
    woken = woken + 1
  end
end

-- When the last old thread of a residue class is drained, the class opens.
local function index_drained(thread)
  local residue = residue_of(thread)
  if not residue or redis.call('ZREM', OLD, thread) == 0 or has_old(residue) then return end
  open_class(residue)
end

-- Go on with the list of old threads, after a change of the layout. Classes of which no thread is old open. Returns how
-- many threads are left.
local function list_old()
  local unlisted = count_unlisted()
  if unlisted <= 0 then return 0 end
  local first, size, divisor = layout.before - unlisted, class_size(), common_divisor(layout.threads, layout.before)
  local last, threads, old = math.min(first + LISTED_AT_ONCE, layout.before), {}, {}
  for place = first, last - 1 do
    threads[#threads + 1] = layout.number - 1 .. ':' .. math.floor(place / size) + place % size * divisor
  end
  for i, record in ipairs(records_of(THREADS, threads)) do
    if record then old[#old + 1], old[#old + 2] = math.floor((first + i - 1) / size), threads[i] end
  end
  in_chunks(old, 'ZADD', OLD)
  redis.call('ZADD', UNPARKING, last - layout.before, UNLISTED)
  if last == layout.before then redis.call('ZREM', UNPARKING, UNLISTED) else woken = woken + 1 end
  for residue = math.floor(first / size), math.floor(last / size) - 1 do
    if not has_old(residue) then open_class(residue) end
  end
  return layout.before - last
end

-- The record of a thread's tubes; nil where there are none.
local function encode_tubes(tubes)
  local records = {}
  for i = 1, #tubes do
    local tube = tubes[i]
    records[i] = tube.priority .. ' ' .. integer(tube.head) .. ' ' .. integer(tube.tail)
  end
  return records[2] and table.concat(records, ' ') or records[1]
end

local function store_tubes(thread, tubes)
  if #tubes > 0 then
    redis.call('HSET', THREADS, thread, encode_tubes(tubes))
  else
    if may_move(thread) then rarely().index_drained(thread) end
    redis.call('HDEL', THREADS, thread)
  end
end

local function depth_of(tubes)
  local depth = 0
  for i = 1, #tubes do depth = depth + tubes[i].tail - tubes[i].head end
  return depth
end

local function index_depth(thread, before, after)
  if after >= 2 then
    redis.call('ZADD', DEEP, after, thread)
  elseif before >= 2 then
    redis.call('ZREM', DEEP, thread)
  end
end

-- Nil also where the record cannot be read: then the tries of the request are counted from 0 again.
local function read_failure(text)
  local sequence, last, attempts, crashes, reason =
    string.match(text or '', '^(%-?%d+) (%-?%d+) (%-?%d+) (%d+) (.*)$')
  sequence, last, attempts, crashes = tonumber(sequence), tonumber(last), tonumber(attempts), tonumber(crashes)
  if not (is_integer(sequence) and is_integer(last) and is_integer(attempts) and is_integer(crashes)) then return nil end
  return { sequence = sequence, last = last, attempts = attempts, crashes = crashes, reason = reason }
end

local any_failures
local function failure_of(thread, priority)
  if any_failures == nil then any_failures = redis.call('HLEN', FAILURES) > 0 end
  local record = any_failures and redis.call('HGET', FAILURES, thread .. '/' .. priority)
  return record and rarely().read_failure(record) or nil
end

local function store_failure(thread, priority, failure)
  any_failures = true
  redis.call('HSET', FAILURES, thread .. '/' .. priority, integer(failure.sequence) .. ' ' .. integer(failure.last) .. ' '
    .. failure.attempts .. ' ' .. failure.crashes .. ' ' .. failure.reason)
end

-- Where each failure in a thread's history ends; nil where the history cannot be read.
local function read_history(text)
  local ends, at = {}, 1
  while at <= #text do
    local error_length, trace_length, after = string.match(text, '^%d+ %-?%d+ %-?%d+ %-?%d+ (%d+) (%d+) ()', at)
    at = after and after + error_length + trace_length
    if not at or at > #text + 1 then return nil end
    ends[#ends + 1] = at - 1
  end
  return ends
end

-- Keep a failure for those who ask what happened: the last ten of a thread, for a day, of the last 1,000 threads.
local function note_failed(thread, priority, sequence, attempt, reason, traceback)
  local DAY, THREADS_KEPT, KEPT = 86400000, 1000, 10
  local earlier = redis.call('HGET', HISTORY, thread) or ''
  local ends = read_history(earlier) or {}
  reason = string.sub(reason, 1, 500)
  redis.call('HSET', HISTORY, thread, now_text .. ' ' .. priority .. ' ' .. integer(sequence) .. ' ' .. attempt .. ' '
    .. string.len(reason) .. ' ' .. string.len(traceback) .. ' ' .. reason .. traceback
    .. string.sub(earlier, 1, ends[math.min(#ends, KEPT - 1)] or 0))
  redis.call('ZADD', FAILED, now, thread)
  for _, over in ipairs({ redis.call('ZRANGE', FAILED, 0, -THREADS_KEPT - 1),
                          redis.call('ZRANGEBYSCORE', FAILED, '-inf', now - DAY, 'LIMIT', '0', SWEEP) }) do
    in_chunks(over, 'HDEL', HISTORY)
    in_chunks(over, 'ZREM', FAILED)
  end
  redis.call('PEXPIRE', FAILED, DAY)
  redis.call('PEXPIRE', HISTORY, DAY)
end

-- Requests up to `through` are cleared of suspicion; the rest of the span stays suspected: where the span was in the hand
-- of a worker that died, so was each of its requests.
local function clear_failure(thread, priority, through)
  local failure = failure_of(thread, priority)
  if through < failure.sequence then return end
  if through >= failure.last then
    redis.call('HDEL', FAILURES, thread .. '/' .. priority)
  else
    failure.sequence, failure.attempts, failure.reason = through + 1, 0, ''
    failure.crashes = math.min(failure.crashes, 1)
    store_failure(thread, priority, failure)
  end
end

-- A request behind the first of its tube is gone: those behind it move up by one.
local function clear_removed(thread, priority, sequence)
  local failure = failure_of(thread, priority)
  if not failure or sequence > failure.last then return end
  if sequence == failure.sequence then failure.attempts, failure.crashes, failure.reason = 0, 0, '' end
  if sequence < failure.sequence then failure.sequence = failure.sequence - 1 end
  failure.last = failure.last - 1
  if failure.last >= failure.sequence then
    store_failure(thread, priority, failure)
  else
    redis.call('HDEL', FAILURES, thread .. '/' .. priority)
  end
end

-- Remove the first `count` requests of the thread's tube number i.
local function pop_requests(thread, tubes, i, count)
  local tube, before, rest = tubes[i], depth_of(tubes), integer(count)
  local list, member = list_of(thread, tube.priority), thread .. '/' .. tube.priority
  tube.head = tube.head + count
  if failure_of(thread, tube.priority) then rarely().clear_failure(thread, tube.priority, tube.head - 1) end
  local is_drained = tube.head >= tube.tail
  if is_drained then
    redis.call('ZREM', OLDEST, member)
    table.remove(tubes, i)
  else
    redis.call('ZADD', OLDEST, stamp_of(try('LINDEX', list, rest)), member)
  end
  index_depth(thread, before, before - count)
  store_tubes(thread, tubes)
  depth_change = depth_change - count
  -- The list comes last: wherever an error ends the script, its first request is still the one that the record names.
  try('LTRIM', list, rest, '-1')
end

-- The number of the next dead letter. Where the counter cannot be read, it is one above all that were given.
local function next_letter()
  local number = try('HINCRBY', COUNTERS, 'dead', 1)
  if number and number > 0 then return number end
  redis.call('HSET', COUNTERS, 'dead', integer(now_us))
  return integer(now_us)
end

-- Keep a request as a dead letter; returns the number of the letter.
local function bury(thread, priority, sequence, attempts, reason, message)
  local number = next_letter()
  redis.call('ZADD', DEAD, now, number)
  redis.call('HSET', LETTERS, number, string.len(thread) .. ' ' .. priority .. ' ' .. integer(sequence) .. ' '
    .. attempts .. ' ' .. string.len(reason) .. ' ' .. thread .. reason .. message)
  return number
end

-- The first request of tube number i becomes a dead letter.
local function dead_letter(thread, tubes, i, attempts, reason)
  local tube = tubes[i]
  local message = try('LINDEX', list_of(thread, tube.priority), 0) or ''
  bury(thread, tube.priority, tube.head, attempts, reason, message)
  pop_requests(thread, tubes, i, 1)
end

local any_blocked
local function blocked_until(thread)
  if any_blocked == nil then any_blocked = redis.call('ZCARD', BLOCKED) > 0 end
  return any_blocked and redis.call('ZSCORE', BLOCKED, thread)
end

-- Scores of `blocked` that are no moments. A quarantine differs from a pause, so that a repair ends it even where the
-- reason was lost; a pause is ended by a person, and so is a stop, but neither ends the other.
local PAUSED, QUARANTINED, STOPPED = 'inf', '100000000000000', '200000000000000'

-- Whether a thread that is blocked until then is paused, stopped or in quarantine.
local function is_withheld(till)
  return till and tonumber(till) >= FIRST_LONG_MOMENT
end

-- Whether new requests of a thread are withheld: the handler or the thread is paused, or stopped. Reads `largest` with it: the
-- bytes of the largest message that the shard may hold.
local all_paused, largest
local function is_paused(thread)
  if all_paused == nil then
    local counted = redis.call('HMGET', COUNTERS, 'paused', 'largest')
    all_paused, largest = counted[1] ~= false, tonumber(counted[2] or 0) or 0
  end
  return all_paused or is_withheld(blocked_until(thread))
end

-- Nil also where the record cannot be read: then the thread is not held, and its former holder finds its fence refused.
local function read_hold(text)
  local fence, owner, since, lease, priority, first, last, ageing, call, later =
    string.match(text or '', '^(%d+) (%S+) (%d+) (%d+) (%-?%d+) (%-?%d+) (%-?%d+) ?(%d*) ?(%d*)(.*)$')
  if not later or later ~= '' and not string.find(later, '^ ') then return nil end
  first, last = tonumber(first), tonumber(last)
  if not first or first < -2 ^ 52 or first > 2 ^ 52 or last < -2 ^ 52 or last > 2 ^ 52 then return nil end
  if #fence > 16 or (#fence == 16 and fence > '4503599627370496') or #since + #lease > 30 then return nil end -- 2 ^ 52
  local is_alone = string.find(ageing, '^0%d') ~= nil
  return { fence = fence, owner = owner, since = since, lease = lease, priority = priority, first = first, last = last,
           ageing = is_alone and string.sub(ageing, 2) or ageing ~= '' and ageing or '0', call = call ~= '' and call or '0',
           is_alone = is_alone }
end

local function held_of(thread)
  return read_hold(redis.call('HGET', HELD, thread))
end

-- The record of a hold. Its holder has nothing in hand while last < first. The thread is drained while since is '0'.
local function encode_hold(held)
  local first = integer(held.first)
  local last = held.last == held.first and first or integer(held.last)
  local ageing = held.is_alone and '0' .. held.ageing or held.ageing
  local rest = held.call ~= '0' and ' ' .. ageing .. ' ' .. held.call or ageing ~= '0' and ' ' .. ageing or ''
  return held.fence .. ' ' .. held.owner .. ' ' .. held.since .. ' ' .. held.lease .. ' ' .. held.priority
    .. ' ' .. first .. ' ' .. last .. rest
end

local function store_hold(thread, held)
  redis.call('HSET', HELD, thread, encode_hold(held))
end

local function held_by(thread, fence)
  local held = held_of(thread)
  return held and held.fence == fence and held or nil
end

-- What the holder of a thread reported of the batch in its hands; '' where it reported nothing of this one.
local function progress_of(thread, held)
  if not held or held.last < held.first then return '' end
  local text = try('GET', lock .. ':progress:' .. thread) or ''
  local fence, first = string.match(text, '^(%d+) (%-?%d+) %d+ %d+ [-%d]%d* ')
  return fence == held.fence and first == integer(held.first) and text or ''
end

-- Whether what is in hand came after the holder's last call, by `arrive`: the holder may not know of it yet.
local function is_unasked(held)
  return string.find(held.call, '^0%d')
end

-- Whether a numbered call of a holder was carried out already, so that it must not be carried out again, however late
-- it comes. A call without a number is recognised by the numbers of its requests alone.
local function is_answered(held, call)
  return call ~= '' and tonumber(call) <= tonumber(held.call)
end

-- The position of a priority among the tubes of a thread; nil where the thread has no such tube.
local function position_of(tubes, priority)
  for i = 1, #tubes do
    if tubes[i].priority == priority then return i end
  end
end

-- Whether all requests up to a number have left their tube.
local function is_done(tubes, priority, through)
  local tube = tubes[position_of(tubes, priority)]
  return not tube or tube.head > through
end

-- The number of the next attempt to handle the first request of a tube. In front of it, the number of the workers that
-- died with the request in hand, if any did.
local function attempt_at(failure, tube)
  if not failure or tube.head ~= failure.sequence then return 1 end
  local attempt = failure.attempts + failure.crashes + 1
  return failure.crashes > 0 and failure.crashes .. ' ' .. attempt or attempt
end

-- A thread whose record cannot be read is not handed out until `check --repair` makes the record anew, from its lists.
-- One that is paused is found again when it is resumed.
local function quarantine(thread, reason)
  if redis.call('ZSCORE', BLOCKED, thread) == PAUSED then return end
  check_kinds()
  redis.call('HSET', QUARANTINE, 'thread ' .. thread, reason)
  redis.call('ZADD', BLOCKED, QUARANTINED, thread)
  redis.call('ZREM', READY, thread)
  redis.call('ZREM', PARKED, thread)
  any_blocked = true
end

local UNREADABLE = 'the record of its tubes cannot be read'

-- The time of the first request of each tube, false where it is not known.
local function stamps_of(thread, tubes)
  local members = {}
  for i = 1, #tubes do members[i] = thread .. '/' .. tubes[i].priority end
  local stamps = {}
  for from = 1, #members, CHUNK do
    local part = redis.call('ZMSCORE', OLDEST, unpack(members, from, math.min(from + CHUNK - 1, #members)))
    for i = 1, #part do stamps[from + i - 1] = part[i] end
  end
  return stamps
end

-- `oldest`: the time of the thread's oldest request, if the caller knows it.
local function make_ready(thread, tubes, is_unparked, oldest)
  if tubes and #tubes == 0 or blocked_until(thread) then return end
  if not tubes then return rarely().quarantine(thread, UNREADABLE) end
  if not is_unparked and may_move(thread) and rarely().park(thread) then return end
  for _, stamp in ipairs(oldest and {} or rarely().stamps_of(thread, tubes)) do
    if not oldest or tonumber(stamp or now) < tonumber(oldest) then oldest = stamp or now_text end
  end
  redis.call('ZADD', READY, oldest, thread)
  woken = woken + 1
end

-- The tries of the first request of a tube are used up. Its thread stands still, with the request in its place, until a
-- person resumes it.
local function stop(thread, priority)
  redis.call('HSET', EXHAUSTED, thread, priority .. ' ' .. now_text)
  redis.call('ZADD', BLOCKED, 'GT', STOPPED, thread) -- a pause stays
  any_blocked = true
end

-- The priority in a record of `exhausted`, nil where there is none.
local function read_stop(record)
  return string.match(record or '', '^(%-?%d+) %d+$')
end

-- The priority of the request for which a thread stands still, nil where it does not.
local function exhausted_of(thread)
  return read_stop(redis.call('HGET', EXHAUSTED, thread))
end

-- What blocks a thread has ended. Returns 1 if that changed something: beside a stop, only the stop is left.
local function unblock(thread)
  if redis.call('HGET', EXHAUSTED, thread) then return redis.call('ZADD', BLOCKED, 'CH', STOPPED, thread) end
  return redis.call('ZREM', BLOCKED, thread)
end

-- A thread no longer stands still for a request without tries. A pause stays. Returns whether that ended its wait.
local function end_stop(thread)
  redis.call('HDEL', EXHAUSTED, thread)
  return redis.call('ZSCORE', BLOCKED, thread) == STOPPED and redis.call('ZREM', BLOCKED, thread) == 1
end

-- The request for which a thread stands still gets all of its tries again. Those behind it that failed in one call with
-- it still come one by one. Returns whether that ended the wait of the thread.
local function try_anew(thread)
  local priority = exhausted_of(thread)
  local failure = priority and failure_of(thread, priority)
  if failure then
    failure.attempts, failure.crashes = 0, 0
    store_failure(thread, priority, failure)
  end
  return end_stop(thread)
end

-- Give the requests of a thread out again, or with '' those of the whole handler. Returns 1 if they were withheld.
local function resume(thread)
  local changed
  if thread == '' then
    changed = redis.call('HDEL', COUNTERS, 'paused')
    woken = WAKE_LIMIT
  else
    local was_stopped = redis.call('ZSCORE', BLOCKED, thread) == STOPPED
    changed = was_stopped and try_anew(thread) and 1 or not was_stopped and unblock(thread) or 0
    redis.call('HDEL', ACTS, thread)
    redis.call('HDEL', QUARANTINE, 'thread ' .. thread)
    if not held_of(thread) then make_ready(thread, tubes_of(thread)) end
  end
  redis.call('HDEL', PAUSES, thread)
  redis.call('ZREM', RESUMES, thread)
  return changed
end

-- The end of a pause has come. The last step of an act that has paused the thread as well resumes it.
local function end_pause(thread)
  if not redis.call('HGET', ACTS, thread) then return resume(thread) end
  redis.call('HDEL', PAUSES, thread)
  redis.call('ZREM', RESUMES, thread)
end

-- A ready thread is as old as its oldest request, even one that comes later: delayed, or handled in vain.
local function index_older(thread, priority)
  redis.call('ZADD', READY, 'XX', 'LT', redis.call('ZSCORE', OLDEST, thread .. '/' .. priority), thread)
end

local function let_go(thread)
  redis.call('ZREM', LEASES, thread)
  redis.call('HDEL', HELD, thread)
end

-- Ends the script, before it writes, where a thread could not be given back: no worker would find a thread that is
-- neither held nor ready.
local is_way_sound
local function check_way_back()
  if is_way_sound then return end
  any_blocked = redis.call('ZCARD', BLOCKED) > 0
  for _, key in ipairs({ READY, OLDEST, LEASES }) do redis.call('ZCARD', key) end
  is_way_sound = true
end

-- A worker died with requests in hand: they are handed out one by one from here on, and one that keeps killing its
-- workers becomes a dead letter, or with `stops` stops its thread: only when its worker had nothing else in a call, for
-- else another request may have killed it. A request that came to a holder which has made no call since is not to blame:
-- the holder may never have heard of it.
local function count_crash(thread, tubes, held, crash_limit, stops)
  if held.last < held.first or is_unasked(held) then return end
  for i, tube in ipairs(tubes or {}) do
    if tube.priority == held.priority and tube.head <= held.last then
      local failure = failure_of(thread, tube.priority)
      if not failure or failure.last < tube.head or tube.head < failure.sequence then
        local last = math.max(held.last, failure and failure.last or held.last)
        failure = { sequence = tube.head, last = last, attempts = 0, crashes = 0, reason = '' }
      end
      failure.crashes = failure.crashes + 1
      note_failed(thread, tube.priority, tube.head, failure.attempts + failure.crashes, held.owner .. ' died', '')
      local is_exhausted = held.is_alone and failure.crashes >= crash_limit
      if is_exhausted then
        local workers = failure.crashes == 1 and '1 worker' or failure.crashes .. ' workers'
        failure.reason = workers .. ' died with this request in hand, the last one while it handled nothing else'
      end
      if is_exhausted and not stops then
        return dead_letter(thread, tubes, i, failure.attempts + failure.crashes, failure.reason)
      end
      store_failure(thread, tube.priority, failure)
      if is_exhausted then stop(thread, tube.priority) end
      return
    end
  end
end

-- Free a thread whose holder is gone. `crash_limit`, `stops`: as count_crash.
local function expire(thread, crash_limit, stops)
  local held, tubes = held_of(thread), tubes_of(thread)
  let_go(thread)
  if held then count_crash(thread, tubes, held, crash_limit, stops) end
  make_ready(thread, tubes)
end

-- Of the threads that a call bound, those whose owner knew no fence above `known`, and their holds.
local function unacknowledged(bound, owner, known)
  local is_readable, threads = pcall(cmsgpack.unpack, bound)
  local found, holds = {}, {}
  if not is_readable or type(threads) ~= 'table' then return found, holds end
  for i, record in ipairs(records_of(HELD, threads)) do
    local held, thread = read_hold(record), threads[i]
    if held and held.owner == owner and tonumber(held.fence) > tonumber(known) then
      found[#found + 1], holds[thread] = thread, held
    end
  end
  return found, holds
end

-- Free the threads that were bound by a call whose answer was lost: their owner does not know of them.
local function take_back(bound, owner, known)
  for _, thread in ipairs(unacknowledged(bound, owner, known)) do
    let_go(thread)
    make_ready(thread, tubes_of(thread))
  end
end

-- The number of messages in a list. A value of another kind took the place of the list: it holds nothing that could be
-- handed out, and is deleted.
local function length_of(list)
  local length = try('LLEN', list)
  if not length then redis.call('DEL', list) end
  return length or 0
end

-- A list that is shorter than its index says was cut by someone else: the index follows the list.
local function reconcile_length(thread, tubes, i)
  check_kinds()
  local tube, before = tubes[i], depth_of(tubes)
  local missing = tube.tail - tube.head - length_of(list_of(thread, tube.priority))
  tube.tail = tube.tail - missing
  depth_change = depth_change - missing
  try('HINCRBY', COUNTERS, 'reconciled', missing)
  if tube.head == tube.tail then
    redis.call('ZREM', OLDEST, thread .. '/' .. tube.priority)
    table.remove(tubes, i)
  end
  index_depth(thread, before, before - missing)
  store_tubes(thread, tubes)
end

-- The tube that goes next: of the lowest priority, less one step for every `ageing` ms that its first request has
-- waited.
local function next_tube(thread, tubes, ageing)
  if tonumber(ageing) == 0 then return 1 end
  local next, lowest
  for i, stamp in ipairs(rarely().stamps_of(thread, tubes)) do
    local waited = math.max(0, now - tonumber(stamp or now))
    local priority = tonumber(tubes[i].priority) - math.floor(waited / ageing)
    if not lowest or priority < lowest then next, lowest = i, priority end
  end
  return next
end

local function largest_message()
  if largest == nil then largest = tonumber(redis.call('HGET', COUNTERS, 'largest')) or 0 end
  return largest
end

-- Cut off the messages that do not fit into `room` bytes, but never the first if `is_first`; returns the bytes of the
-- rest.
local function cut(messages, room, is_first)
  local bytes = 0
  for n = 1, #messages do bytes = bytes + #messages[n] end
  if bytes <= room then return bytes end
  for n = #messages, is_first and 2 or 1, -1 do
    bytes, messages[n] = bytes - #messages[n], nil
    if bytes <= room then break end
  end
  return bytes
end

-- Read on in a list, in parts, after the `messages` that were read. Returns what first_messages does.
local function read_on(list, messages, bytes, count, part, room)
  while #messages < count do
    local asked, from = math.min(part, count - #messages), #messages
    local read = try('LRANGE', list, from, from + asked - 1) or {}
    local found = #read
    bytes = bytes + cut(read, room - bytes, false)
    for _, message in ipairs(read) do messages[#messages + 1] = message end
    if #read < found then break end
    if found < asked then return messages, bytes, true end
  end
  return messages, bytes, false
end

-- The first `count` messages of a list, or as many as fit into `room` bytes, at least one; their bytes; and whether the
-- list ended early. They are read in parts that fit even if all messages are as large as the largest.
local function first_messages(list, count, room)
  local part = count
  if count > 1 and count * largest_message() > room then part = math.max(1, math.floor(room / largest)) end
  local messages = try('LRANGE', list, '0', part == 1 and '0' or part - 1) or {}
  local found = #messages
  local bytes = cut(messages, room, true)
  if #messages == part and part < count then return rarely().read_on(list, messages, bytes, count, part, room) end
  return messages, bytes, #messages == found and found < part
end

-- Messages of a list from place `at` on (0 is the first), as first_messages has them.
local function messages_from(list, at, count, room)
  local part, messages, bytes = math.max(1, math.min(count, math.floor(room / math.max(1, largest_message())))), {}, 0
  while #messages < count do
    local asked, from = math.min(part, count - #messages), at + #messages
    local read = try('LRANGE', list, from, from + asked - 1) or {}
    local found = #read
    bytes = bytes + cut(read, room - bytes, #messages == 0)
    for _, message in ipairs(read) do messages[#messages + 1] = message end
    if #read < found or found < asked then break end
  end
  return messages
end

-- The next requests of a bound thread: at most `wanted` of one tube, in at most `room` bytes or a single larger one,
-- and one by one while a failure is isolated. Returns their priority, the number of the first, its attempt, the
-- messages, and their bytes; nothing where there are none. Writes what is in hand into `held`, which the caller stores.
local function hand_out(thread, tubes, held, wanted, room)
  if #tubes == 0 then return nil end
  local i = #tubes == 1 and 1 or next_tube(thread, tubes, held.ageing)
  local tube = tubes[i]
  local count, failure = tube.tail - tube.head, failure_of(thread, tube.priority)
  if count > wanted then count = wanted end
  if failure and tube.head <= failure.last then count = 1 end
  local messages, bytes, is_cut = first_messages(list_of(thread, tube.priority), count, room)
  if is_cut then
    rarely().reconcile_length(thread, tubes, i)
    return hand_out(thread, tubes, held, wanted, room)
  end
  held.priority, held.first, held.last = tube.priority, tube.head, tube.head + #messages - 1
  held.is_alone = false
  if held.since == '0' then held.since = now_text end
  return tube.priority, tube.head, failure and rarely().attempt_at(failure, tube) or 1, messages, bytes
end

-- What `hand_out` returned, again; nothing where nothing is in hand, or only what came later.
local function in_hand(thread, tubes, held)
  for _, tube in ipairs(held.first <= held.last and not is_unasked(held) and tubes or {}) do
    if tube.priority == held.priority then
      local messages = try('LRANGE', list_of(thread, tube.priority), '0', held.last - held.first)
      if messages then return tube.priority, held.first, attempt_at(failure_of(thread, tube.priority), tube), messages end
    end
  end
end

-- The tube of a priority, created if it is missing; `start` must be above every number that it ever gave. Tubes are in
-- the order of their priorities.
local function tube_for(tubes, priority, start)
  local known = tubes[position_of(tubes, priority)]
  if known then return known end
  local first, last = 1, #tubes + 1
  while first < last do
    local middle = math.floor((first + last) / 2)
    if tonumber(tubes[middle].priority) < tonumber(priority) then first = middle + 1 else last = middle end
  end
  local tube = { priority = priority, head = start, tail = start }
  table.insert(tubes, first, tube)
  return tube
end

-- The first request of an empty thread wakes its holder, or makes the thread ready. `hold`: the record of its hold, if
-- the caller has read it; `oldest` as in make_ready.
--
-- `message`: that of the request, if it came alone. A holder that waits for it gets it at once, and need not ask. The
-- holder takes it only if it has sent no call since, as the answer to that call has the request too. So a wake-up that
-- is lost or comes late does no harm.
local function arrive(thread, tubes, hold, oldest, message)
  local held
  if hold == nil then held = rarely().held_of(thread) elseif hold then held = read_hold(hold) end
  if not held then
    make_ready(thread, tubes, false, oldest)
    return
  end
  held.since = now_text
  local handed = ' 0 0 ' .. thread
  if message and held.last < held.first and not blocked_until(thread) and not redis.call('HGET', COUNTERS, 'paused') then
    held.priority, held.first, held.last = tubes[1].priority, tubes[1].head, tubes[1].head
    handed = ' ' .. held.priority .. ' ' .. integer(held.first) .. ' ' .. thread .. message
  end
  local told = string.len(thread) .. ' ' .. held.fence .. ' ' .. held.call .. handed
  if held.first <= held.last then held.call = '0' .. held.call end
  store_hold(thread, held)
  local news = base .. ':' .. held.owner .. ':news'
  try('RPUSH', news, told)
  redis.call('PEXPIRE', news, 60000)
end

-- Where the waits of a set are not all shifted yet, an end is written so that it is not shifted, or comes out right when
-- it is. For callers of `follow_clock`.
local BLOCK_WAITS, DUE_WAITS, IDENTITY_WAITS, OCCURRENCE_WAITS, LEASE_WAITS = 1, 2, 3, 4, 5
local SHIFT_STEP = 2000
local shift
local function end_of(number, moment)
  if not shift or number < shift.number then return moment end
  local is_shifted = number == shift.number and tonumber(moment) <= tonumber(shift.from) - shift.by
  return is_shifted and moment or integer(moment + shift.by)
end

-- No worker binds a thread that was let go before `moment`. A pause lasts longer.
local function hold_back(thread, moment)
  redis.call('ZADD', BLOCKED, 'GT', end_of(BLOCK_WAITS, moment), thread)
  woken = woken + 1 -- waiting workers do not know yet when this wait ends
end

-- Until it is due, a delayed request has the number of its registration. Equal times go by number, as text.
local function put_off(thread, priority, start, source, first, last, due)
  due = end_of(DUE_WAITS, due)
  local dues, records, head = {}, {}, string.len(thread) .. ' ' .. priority .. ' ' .. thread
  for i = first, last do
    local at, number = 2 * (i - first), string.format('%016d', start + i - first)
    dues[at + 1], dues[at + 2] = due, number
    records[at + 1], records[at + 2] = number, head .. source[i]
  end
  in_chunks(dues, 'ZADD', DUE)
  in_chunks(records, 'HSET', LATER)
  woken = woken + 1
  return start
end

-- Append source[first..last] to a tube; returns the sequence number of the first. `tubes`: those of the thread, which
-- `store_extended` stores when the last request of a call was appended, so that a record is read and written once a
-- call, however many of its tubes change. `start` as in tube_for.
--
-- Where the key is not a list, the requests are delayed until the next poll of a worker, which may delete it. Where the
-- thread's record cannot be read, they wait in their list. The list may hold requests that the record does not know:
-- the record was lost, or someone else wrote them. They go first.
local function extend(thread, tubes, priority, start, source, first, last)
  local list, count, length = list_of(thread, priority), last - first + 1, nil
  for chunk = first, last, CHUNK do
    length = try('RPUSH', list, unpack(source, chunk, math.min(chunk + CHUNK - 1, last)))
    if not length then return rarely().put_off(thread, priority, start, source, first, last, now) end
  end
  depth_change = depth_change + count
  if not tubes then
    rarely().quarantine(thread, UNREADABLE)
    return start
  end
  tubes.depth = tubes.depth or depth_of(tubes)
  local tube = tube_for(tubes, priority, start)
  local unknown = math.max(0, length - count - (tube.tail - tube.head))
  if tube.head == tube.tail then
    local stamp = stamp_of(source[first])
    redis.call('ZADD', OLDEST, stamp, thread .. '/' .. priority)
    if not tubes.stamp or stamp < tubes.stamp then tubes.stamp = stamp end
  end
  if unknown > 0 then redis.call('HINCRBY', COUNTERS, 'sequence', unknown) end
  local sequence = tube.tail + unknown
  tube.tail = sequence + count
  return sequence
end

-- Store what `extend` made of the tubes of a thread: `depth` is what the thread held before, `stamp` the time of the
-- oldest request that opened a tube. `hold` and `message` as in arrive.
local function store_extended(thread, tubes, hold, message)
  if not tubes or not tubes.depth then return end
  store_tubes(thread, tubes)
  index_depth(thread, tubes.depth, depth_of(tubes))
  if tubes.depth == 0 then
    arrive(thread, tubes, hold, tubes.stamp, message)
  elseif tubes.stamp then
    redis.call('ZADD', READY, 'XX', 'LT', tubes.stamp, thread)
  end
end

-- What a worker tells of itself, for those who list workers. One that told nothing for five minutes is forgotten.
local function note_worker(owner, about)
  try('ZADD', WORKERS, now, owner .. ' ' .. about)
  try('ZREMRANGEBYSCORE', WORKERS, '-inf', '(' .. integer(now - 300000))
  redis.call('PEXPIRE', WORKERS, 300000)
end

-- A lease ends no later than its own length from now; returns whether it would have.
local function clamp_lease(thread, till)
  local held = held_of(thread)
  local latest = now + (held and tonumber(held.lease) or 0)
  if tonumber(till) <= latest then return false end
  redis.call('ZADD', LEASES, integer(latest), thread)
  return true
end

local function clamp_leases()
  for _ = 1, tonumber(SWEEP) do
    local last = redis.call('ZRANGE', LEASES, '-1', '-1', 'WITHSCORES')
    if not last[1] or not clamp_lease(last[1], last[2]) then return end
  end
end

-- Move the end of a wait by `by` ms, in the set of that number; returns whether it is moved. Intervals are waits; cron
-- lines go by the clock on the wall.
local function shift_wait(number, key, member, till, by)
  if number == LEASE_WAITS then return clamp_lease(member, till) end
  local record = number == OCCURRENCE_WAITS and redis.call('HGET', SCHEDULES, member)
  if record and not string.find(record, '^%d+ %d+ %-?%d+ every ') then return false end
  redis.call('ZADD', key, integer(tonumber(till) - by), member)
  return true
end

-- Shift at most `count` waits; returns how many were looked at. All that were shifted end at `from - by` or before, and
-- all others at `from` or later, also where many have the same end. Of those, `skip` stay where they are.
local function shift_part(key, count)
  local range = { shift.from, '(' .. integer(FIRST_LONG_MOMENT), 'WITHSCORES', 'LIMIT', shift.skip, count }
  local found = redis.call('ZRANGEBYSCORE', key, unpack(range))
  for i = 1, #found, 2 do
    if found[i + 1] ~= shift.from then shift.from, shift.skip = found[i + 1], 0 end
    if not shift_wait(shift.number, key, found[i], found[i + 1], shift.by) then shift.skip = shift.skip + 1 end
  end
  if #found < 2 * count then shift.number, shift.from, shift.skip = shift.number + 1, '-inf', 0 end
  return #found / 2
end

-- Go on with a shift of all waits, as far as one step goes.
local function shift_waits(count)
  check_kinds()
  local keys = { BLOCKED, DUE, IDENTITIES, OCCURRENCES, LEASES }
  while shift.number <= #keys and count > 0 do count = count - shift_part(keys[shift.number], count) end
  if shift.number > #keys then
    redis.call('HDEL', COUNTERS, 'shift')
    shift = nil
  else
    local text = integer(shift.by) .. ' ' .. shift.number .. ' ' .. shift.from .. ' ' .. shift.skip
    redis.call('HSET', COUNTERS, 'shift', text)
    woken = woken + 1
  end
end

-- Go on with a shift that an earlier step began.
local function go_on_shifting(text)
  local by, number, from, skip = string.match(text .. ' ', '^(%d+) (%d+) (%S+) (%d+) ')
  if not by or not tonumber(from) then return redis.call('HDEL', COUNTERS, 'shift') end
  shift = { by = tonumber(by), number = tonumber(number), from = from, skip = tonumber(skip) }
  shift_waits(SHIFT_STEP)
end

-- Store the time, because it is later than `latest`, or was set back; `latest` is nil where the counter holds no time.
local function store_time(latest)
  if latest and latest > now then check_kinds() end
  redis.call('HSET', COUNTERS, 'latest', now_text)
  if not latest or latest < now then return end
  while shift do shift_waits(SHIFT_STEP) end -- it was set back twice within moments
  shift = { by = latest - now, number = 1, from = '-inf', skip = 0 }
  for _, name in ipairs(redis.call('ZRANGE', CORDONED, 0, -1)) do -- few
    redis.call('ZADD', CORDONED, redis.call('ZSCORE', CORDONED, name) - latest + now, name)
  end
  shift_waits(SHIFT_STEP)
end

-- Waits are kept as the moment at which they end. When the clock was set back by STEP ms or more, all of them are
-- brought forward by as much, in several steps where they are many, so that none takes longer than was asked for.
-- `latest` and `pending` are the counters `latest` and `shift`, if the caller has read them.
local function follow_clock(latest, pending)
  if latest == nil then
    local counted = redis.call('HMGET', COUNTERS, 'format', 'latest', 'shift')
    check_format(counted[1])
    latest, pending = counted[2], counted[3]
  end
  if pending then rarely().go_on_shifting(pending) end
  latest = tonumber(latest or nil)
  if latest and not (latest > 0 and latest < FIRST_LONG_MOMENT and latest % 1 == 0) then latest = nil end -- not a time
  if not latest or math.abs(latest - now) >= STEP then rarely().store_time(latest) end
end

-- Whether requests can be numbered: the number of the next one can be read. `sequence` is that counter, if the caller
-- has read it.
local function is_numbered(sequence)
  sequence = tonumber(sequence or redis.call('HGET', COUNTERS, 'sequence') or 0)
  return is_integer(sequence) and sequence >= 0
end

-- A number for one request, above all that were given.
local function take_number()
  return redis.call('HINCRBY', COUNTERS, 'sequence', 1) - 1
end

-- The thread in a record, of `length` bytes from `at` on; nil where thread or priority cannot be those of a request.
local function route_of(text, length, priority, at)
  local thread = at and string.sub(text, at, at + length - 1)
  if not thread or thread == '' or #thread < tonumber(length) or not is_text(thread) then return nil end
  return math.abs(tonumber(priority)) < 2 ^ 31 and thread or nil
end

-- A delayed request: its thread, priority and message without its time; nil where the record cannot be read.
local function read_delayed(text)
  local length, priority, at = string.match(text, '^(%d+) (%-?%d+) ()')
  local thread = route_of(text, length, priority, at)
  if not thread or not string.find(text, '^%d%d%d%d%d%d%d%d%d%d%d%d%d', at + length) then return nil end
  return thread, priority, string.sub(text, at + length + 13)
end

-- A dead letter: its thread, priority and message; nil where it cannot be read.
local function read_letter(text)
  local length, priority, reason_length, at = string.match(text, '^(%d+) (%-?%d+) %-?%d+ %-?%d+ (%d+) ()')
  local thread = route_of(text, length, priority, at)
  if not thread or #text < at + length + reason_length - 1 then return nil end
  return thread, priority, string.sub(text, at + length + reason_length)
end

local function encode_drop(actor, thread, letters, reason)
  return now_text .. ' ' .. string.len(actor) .. ' ' .. string.len(thread) .. ' ' .. #letters .. ' '
    .. integer(letters[1]) .. ' ' .. actor .. thread .. reason
end

-- Keep what a person dropped; the last 1,000 drops remain.
local DROPS_KEPT = 1000
local function remember_drop(record)
  redis.call('LPUSH', DROPS, record)
  redis.call('LTRIM', DROPS, 0, DROPS_KEPT - 1)
end

-- Whether this can be the record of a drop.
local function is_drop(text)
  local moment, actor_length, thread_length, at = string.match(text, '^(%d+) (%d+) (%d+) %d+ %d+ ()')
  return at and #moment == 13 and #text >= at + actor_length + thread_length - 1
end

-- A moment as messages have it. A score that is not a moment becomes the present.
local function encode_moment(score)
  local moment = tonumber(score)
  return string.format('%013.0f', moment >= 0 and moment < FIRST_LONG_MOMENT and moment or now)
end

-- The time by a caller's clock, or ours where the two differ by more than the tolerance.
local function moment_by(stamp, tolerance)
  stamp = tonumber(stamp)
  return math.abs(stamp - now) <= tonumber(tolerance) and stamp or now
end

-- Requests join their tubes one by one, each after the checks of its script; `store_joined` stores each thread once.
local joined, joined_tubes = {}, {}
local function join(thread, priority, message)
  length_of(list_of(thread, priority))
  if joined_tubes[thread] == nil then
    joined[#joined + 1], joined_tubes[thread] = thread, tubes_of(thread) or false
  end
  return extend(thread, joined_tubes[thread], priority, take_number(), { message }, 1, 1)
end

local function store_joined()
  for _, thread in ipairs(joined) do store_extended(thread, joined_tubes[thread]) end
  joined, joined_tubes = {}, {}
end

-- Delayed requests that are due move into their tubes, in the order of their times, and count as registered at these
-- times. They wait on (`has_waiting`) while the numbers of requests or the layout cannot be read. `room`: bytes of all at
-- most, or a single larger one; the others are left.
local has_waiting
local function promote_ripe(ripe, room)
  has_waiting = not is_numbered() or known_layout() == nil
  if has_waiting then return end
  check_kinds()
  for i, number in ipairs(ripe) do
    local text = redis.call('HGET', LATER, number)
    room = room - #(text or '')
    if room < 0 and i > 1 then break end
    local thread, priority, body = read_delayed(text or '')
    if thread then
      local message = encode_moment(redis.call('ZSCORE', DUE, number)) .. body
      join(thread_in_force(thread, message), priority, message)
      redis.call('HDEL', LATER, number)
      redis.call('HDEL', NAMED, number)
    elseif text then
      redis.call('HSET', QUARANTINE, 'delayed ' .. number, 'its record cannot be read')
    end
    redis.call('ZREM', DUE, number)
  end
  store_joined()
end

local function promote()
  if redis.call('ZCARD', DUE) == 0 then return end
  local ripe = redis.call('ZRANGEBYSCORE', DUE, '-inf', now_text, 'LIMIT', '0', SWEEP)
  if #ripe > 0 then rarely().promote_ripe(ripe, PROMOTED_BYTES) end
end

-- The schedule of a name; nil also where its record cannot be read.
local function schedule_of(name)
  local text = redis.call('HGET', SCHEDULES, name)
  local timing_length, thread_length, priority, at = string.match(text or '', '^(%d+) (%d+) (%-?%d+) ()')
  local after = at and at + timing_length
  local thread = route_of(text, thread_length, priority, after)
  if not thread then return nil end
  return { timing = string.sub(text, at, after - 1), thread = thread, priority = priority,
           message = string.sub(text, after + thread_length) }
end

local function store_schedule(name, schedule)
  redis.call('HSET', SCHEDULES, name, string.len(schedule.timing) .. ' ' .. string.len(schedule.thread) .. ' '
    .. schedule.priority .. ' ' .. schedule.timing .. schedule.thread .. schedule.message)
end

-- Where the last occurrence of a schedule went; nil where it is none that skips, or none has occurred yet.
local function last_occurrence(name)
  local text = redis.call('HGET', SKIPPING, name)
  local sequence, priority, thread = string.match(text or '', '^(%d+) (%-?%d+) (.+)$')
  return thread, priority, tonumber(sequence)
end

-- When a schedule occurs next, and whether that stays: where its timing stays, it occurs when it would have; else at
-- `following`. Nil where that has passed.
local function occurrence_of(name, known, timing, following)
  local kept = known and known.timing == timing and redis.call('ZSCORE', OCCURRENCES, name)
  if kept then return encode_moment(kept), encode_moment(kept) == kept end
  return following ~= '' and tonumber(following) > now and following or nil
end

-- As end_of: only intervals are shifted.
local function occurrence_end(timing, following)
  return string.find(timing, '^every ') and end_of(OCCURRENCE_WAITS, following) or following
end

-- The number of the next request. With the first one, the shard gets its marker. `bytes`: of the largest message that
-- is about to come.
local function next_sequence(bytes)
  local found = redis.call('HMGET', COUNTERS, 'sequence', 'largest', 'format')
  check_format(found[3])
  local sequence, largest_before = found[1], tonumber(found[2] or 0)
  if not is_numbered(sequence) then
    error({ err = 'GARBAGE ' .. COUNTERS .. ' has no number in its field sequence' })
  end
  if not is_integer(largest_before) or bytes > largest_before then redis.call('HSET', COUNTERS, 'largest', bytes) end
  if sequence then return tonumber(sequence) end
  redis.call('HSET', COUNTERS, 'born', integer(now_us), 'sequence', 0, 'format', FORMAT)
  return 0
end

-- Parked threads whose old ones are drained become ready, at most SWEEP of them at a time. First, old threads are listed.
local function unpark_classes()
  check_kinds()
  list_old()
  local left = tonumber(SWEEP)
  while left > 0 do
    local residue = redis.call('ZRANGEBYSCORE', UNPARKING, '0', '+inf', 'LIMIT', '0', '1')[1]
    if not residue then return end
    local threads = redis.call('ZRANGEBYSCORE', PARKED, residue, residue, 'LIMIT', 0, left)
    for _, thread in ipairs(threads) do
      redis.call('ZREM', PARKED, thread)
      make_ready(thread, tubes_of(thread), true)
    end
    if #threads < left then redis.call('ZREM', UNPARKING, residue) end
    left = left - #threads
  end
  woken = woken + 1 -- for those that are left
end

local function unpark()
  if redis.call('ZCARD', UNPARKING) > 0 then rarely().unpark_classes() end
end

-- Write what the functions above added up; the last step of every script that changes something. Returns the depth of
-- the shard, if it changed.
local function finish()
  local depth = depth_change ~= 0 and try('HINCRBY', COUNTERS, 'depth', depth_change)
  if settled ~= 0 then try('HINCRBY', COUNTERS, 'settled', settled) end
  if woken > 0 then
    for _ = length_of(WAKE) + 1, math.min(WAKE_LIMIT, woken) do redis.call('RPUSH', WAKE, '1') end
  end
  return depth
end
