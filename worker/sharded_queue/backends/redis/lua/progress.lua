#!lua flags=no-writes
-- What the holders of threads reported of the batches in their hands. ARGV  threads
--
-- Returns {now, "fence first ms done of note" of each thread, '' where there is no report}

check_format()
local reports = {}
for i, record in ipairs(records_of(HELD, ARGV)) do reports[i] = progress_of(ARGV[i], read_hold(record)) end
return { now, reports }
