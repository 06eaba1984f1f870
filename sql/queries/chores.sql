-- What has to be done from time to time.

-- name: now
-- The database's time: retention counts in it, as run ids do.
SELECT clock_timestamp()
