//! The statements that write a batch. Each takes columns as arrays, and writes all rows of a table at once.

/// Rows that a batch removes come first, then those that it writes.
pub(crate) const DELETE_RUNTIMES: &str = "DELETE FROM runtimes WHERE runtime = ANY($1::bytea[])";
pub(crate) const DELETE_IMPORTS: &str = "DELETE FROM imports WHERE runtime = ANY($1::bytea[])";
pub(crate) const DELETE_WORKERS: &str = "DELETE FROM workers AS t
    USING unnest($1::bytea[], $2::bytea[]) AS u (r, w) WHERE t.runtime = u.r AND t.worker = u.w";
/// With the last number that goes.
pub(crate) const DELETE_EVENTS: &str = "DELETE FROM events AS t
    USING unnest($1::bytea[], $2::int8[]) AS u (r, n) WHERE t.runtime = u.r AND t.number <= u.n";
pub(crate) const DELETE_ENTRIES: &str = "DELETE FROM transcripts AS t
    USING unnest($1::bytea[], $2::bytea[], $3::int8[]) AS u (r, w, n)
    WHERE t.runtime = u.r AND t.worker = u.w AND t.number <= u.n";
pub(crate) const DELETE_ALL_ENTRIES: &str =
    "DELETE FROM transcripts WHERE runtime = ANY($1::bytea[])";
pub(crate) const DELETE_DIAGNOSTICS: &str = "DELETE FROM diagnostics AS t
    USING unnest($1::bytea[], $2::int8[]) AS u (r, n) WHERE t.runtime = u.r AND t.number = u.n";
pub(crate) const DELETE_TOMBSTONES: &str = "DELETE FROM tombstones AS t
    USING unnest($1::bytea[], $2::bytea[]) AS u (r, w) WHERE t.runtime = u.r AND t.worker = u.w";
pub(crate) const DELETE_FILES: &str = "DELETE FROM files AS t
    USING unnest($1::bytea[], $2::bytea[], $3::int8[]) AS u (r, p, n)
    WHERE t.runtime = u.r AND t.path = u.p AND t.number = u.n";

/// The texts of long keys: those of runtimes, keys, texts.
pub(crate) const PUT_LONG_KEYS: &str = "INSERT INTO long_keys (runtime, key, text)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING";
/// Comes last: removes the texts of runtimes that no row has any more.
pub(crate) const FORGET_LONG_KEYS: &str = "DELETE FROM long_keys AS l
    USING unnest($1::bytea[]) AS u (r) WHERE l.runtime = u.r
    AND NOT EXISTS (SELECT FROM workers AS t WHERE t.runtime = l.runtime AND t.worker = l.key)
    AND NOT EXISTS (SELECT FROM transcripts AS t WHERE t.runtime = l.runtime AND t.worker = l.key)
    AND NOT EXISTS (SELECT FROM tombstones AS t WHERE t.runtime = l.runtime AND t.worker = l.key)
    AND NOT (l.key = l.runtime
        AND EXISTS (SELECT FROM tombstones AS t WHERE t.runtime = '' AND t.worker = l.key))
    AND NOT EXISTS (SELECT FROM files AS t WHERE t.runtime = l.runtime AND t.path = l.key)
    AND NOT (l.key = l.runtime AND (
        EXISTS (SELECT FROM runtimes AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM workers AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM events AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM transcripts AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM diagnostics AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM imports AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM tombstones AS t WHERE t.runtime = l.key)
        OR EXISTS (SELECT FROM files AS t WHERE t.runtime = l.key)))";

pub(crate) const PUT_META: &str = "INSERT INTO meta (property, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[])
    ON CONFLICT (property) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_RUNTIMES: &str = "INSERT INTO runtimes (runtime, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[])
    ON CONFLICT (runtime) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_WORKERS: &str = "INSERT INTO workers (runtime, worker, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])
    ON CONFLICT (runtime, worker) DO UPDATE SET record = excluded.record";
pub(crate) const ADD_EVENTS: &str = "INSERT INTO events (runtime, number, record)
    SELECT * FROM unnest($1::bytea[], $2::int8[], $3::bytea[])";
pub(crate) const ADD_ENTRIES: &str = "INSERT INTO transcripts (runtime, worker, number, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[])";
pub(crate) const PUT_ENTRIES: &str = "INSERT INTO transcripts (runtime, worker, number, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[])
    ON CONFLICT (runtime, worker, number) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_DIAGNOSTICS: &str = "INSERT INTO diagnostics (runtime, number, record)
    SELECT * FROM unnest($1::bytea[], $2::int8[], $3::bytea[])
    ON CONFLICT (runtime, number) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_IMPORTS: &str = "INSERT INTO imports (runtime, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[])
    ON CONFLICT (runtime) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_TOMBSTONES: &str = "INSERT INTO tombstones (runtime, worker, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])
    ON CONFLICT (runtime, worker) DO UPDATE SET record = excluded.record";
pub(crate) const PUT_FILES: &str = "INSERT INTO files (runtime, path, number, record)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[])
    ON CONFLICT (runtime, path, number) DO UPDATE SET record = excluded.record";

/// Counts a commit that changes these runtimes, with its token. A lease that has ended is taken from its holder, which must
/// notice that another host wrote.
pub(crate) const NEXT_VERSION: &str = "UPDATE locks
    SET version = version + 1, stamp = $2, holder = NULL, expires = NULL,
        epoch = epoch + (holder IS NOT NULL)::int
    WHERE runtime = ANY($1::bytea[])";
/// As [`NEXT_VERSION`], and takes or renews the leases: runtimes, token, epochs, the holder, milliseconds.
pub(crate) const NEXT_VERSION_LEASED: &str = "UPDATE locks AS t
    SET version = t.version + 1, stamp = $2, holder = $4, epoch = u.e,
        expires = clock_timestamp() + $5 * interval '1 ms'
    FROM unnest($1::bytea[], $3::int8[]) AS u (r, e) WHERE t.runtime = u.r";
pub(crate) const ADD_TOKEN: &str = "INSERT INTO commits (token, at) VALUES ($1, clock_timestamp())";
/// Sent after COMMIT: if an operator has set it to nothing, the commit did not wait for a standby.
pub(crate) const STANDBYS: &str = "SELECT current_setting('synchronous_standby_names')";
pub(crate) const FIND_TOKEN: &str = "SELECT 1 FROM commits WHERE token = $1";
/// Tokens are needed while a host settles a commit. A day is far more than any deadline.
pub(crate) const DELETE_OLD_TOKENS: &str = "DELETE FROM commits WHERE token IN (
    SELECT token FROM commits WHERE at < clock_timestamp() - interval '1 day'
    ORDER BY at LIMIT 10000 FOR UPDATE SKIP LOCKED)";
