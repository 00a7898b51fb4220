-- Schema 2: ids and paths of any length. An entry of an index has at most about 2,700 bytes. A text of more than 1,024 bytes
-- gets a key of 1,057: its first 1,024, a byte that no UTF-8 text has, and its SHA-256. long_keys has the text.

-- Every commit of version 1 writes to this table: none that has not done so succeeds from here on.
ALTER TABLE tokens RENAME TO commits;

CREATE TABLE long_keys (runtime bytea, key bytea, text bytea NOT NULL, PRIMARY KEY (runtime, key));
INSERT INTO long_keys
    SELECT CASE WHEN length(keeper) <= 1024 THEN keeper
            ELSE substring(keeper FOR 1024) || decode('ff', 'hex') || sha256(keeper) END,
        substring(text FOR 1024) || decode('ff', 'hex') || sha256(text), text
    FROM (
        SELECT runtime AS keeper, runtime AS text FROM runtimes
        UNION SELECT runtime, runtime FROM events UNION SELECT runtime, runtime FROM diagnostics
        UNION SELECT runtime, runtime FROM imports
        UNION SELECT runtime, runtime FROM workers UNION SELECT runtime, worker FROM workers
        UNION SELECT runtime, runtime FROM transcripts UNION SELECT runtime, worker FROM transcripts
        UNION SELECT runtime, runtime FROM tombstones
        UNION SELECT CASE WHEN runtime = '' THEN worker ELSE runtime END, worker FROM tombstones
        UNION SELECT runtime, runtime FROM files UNION SELECT runtime, path FROM files
    ) AS texts WHERE length(text) > 1024;
UPDATE runtimes SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE events SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE diagnostics SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE imports SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE locks SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE workers SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE workers SET worker = substring(worker FOR 1024) || decode('ff', 'hex') || sha256(worker)
    WHERE length(worker) > 1024;
UPDATE transcripts SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE transcripts SET worker = substring(worker FOR 1024) || decode('ff', 'hex') || sha256(worker)
    WHERE length(worker) > 1024;
UPDATE tombstones SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE tombstones SET worker = substring(worker FOR 1024) || decode('ff', 'hex') || sha256(worker)
    WHERE length(worker) > 1024;
UPDATE files SET runtime = substring(runtime FOR 1024) || decode('ff', 'hex') || sha256(runtime)
    WHERE length(runtime) > 1024;
UPDATE files SET path = substring(path FOR 1024) || decode('ff', 'hex') || sha256(path)
    WHERE length(path) > 1024;
