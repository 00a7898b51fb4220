-- Schema 2: ids and paths of any length. An entry of an index has at most about 2,700 bytes. A text of more than 1,024 bytes
-- gets a key of 1,057: its first 1,024, a byte that no UTF-8 text has, and its SHA-256. long_keys has the text.
CREATE TABLE long_keys (runtime bytea, key bytea, text bytea NOT NULL, PRIMARY KEY (runtime, key));
CREATE FUNCTION key_of(text bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(text) <= 1024 THEN text
        ELSE substring(text FOR 1024) || '\xff'::bytea || sha256(text) END
$$;
INSERT INTO long_keys
    SELECT key_of(keeper), key_of(text), text FROM (
        SELECT runtime AS keeper, runtime AS text FROM runtimes
        UNION SELECT runtime, runtime FROM events UNION SELECT runtime, runtime FROM diagnostics
        UNION SELECT runtime, runtime FROM imports
        UNION SELECT runtime, runtime FROM workers UNION SELECT runtime, worker FROM workers
        UNION SELECT runtime, runtime FROM transcripts UNION SELECT runtime, worker FROM transcripts
        UNION SELECT runtime, runtime FROM tombstones
        UNION SELECT CASE WHEN runtime = '' THEN worker ELSE runtime END, worker FROM tombstones
        UNION SELECT runtime, runtime FROM files UNION SELECT runtime, path FROM files
    ) AS texts WHERE length(text) > 1024;
UPDATE runtimes SET runtime = key_of(runtime) WHERE length(runtime) > 1024;
UPDATE events SET runtime = key_of(runtime) WHERE length(runtime) > 1024;
UPDATE diagnostics SET runtime = key_of(runtime) WHERE length(runtime) > 1024;
UPDATE imports SET runtime = key_of(runtime) WHERE length(runtime) > 1024;
UPDATE locks SET runtime = key_of(runtime) WHERE length(runtime) > 1024;
UPDATE workers SET runtime = key_of(runtime), worker = key_of(worker)
    WHERE length(runtime) > 1024 OR length(worker) > 1024;
UPDATE transcripts SET runtime = key_of(runtime), worker = key_of(worker)
    WHERE length(runtime) > 1024 OR length(worker) > 1024;
UPDATE tombstones SET runtime = key_of(runtime), worker = key_of(worker)
    WHERE length(runtime) > 1024 OR length(worker) > 1024;
UPDATE files SET runtime = key_of(runtime), path = key_of(path)
    WHERE length(runtime) > 1024 OR length(path) > 1024;
DROP FUNCTION key_of(bytea);
