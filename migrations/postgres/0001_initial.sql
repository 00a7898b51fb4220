-- Schema 1: the tables of the first version.
CREATE TABLE meta (property bytea PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE runtimes (runtime bytea PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE workers (runtime bytea, worker bytea, record bytea NOT NULL, PRIMARY KEY (runtime, worker));
CREATE TABLE events (runtime bytea, number int8, record bytea NOT NULL, PRIMARY KEY (runtime, number));
CREATE TABLE transcripts (runtime bytea, worker bytea, number int8, record bytea NOT NULL,
    PRIMARY KEY (runtime, worker, number));
CREATE TABLE diagnostics (runtime bytea, number int8, record bytea NOT NULL, PRIMARY KEY (runtime, number));
CREATE TABLE imports (runtime bytea PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE tombstones (runtime bytea, worker bytea, record bytea NOT NULL, PRIMARY KEY (runtime, worker));
CREATE TABLE files (runtime bytea, path bytea, number int8, record bytea NOT NULL,
    PRIMARY KEY (runtime, path, number));
CREATE TABLE locks (runtime bytea PRIMARY KEY, version int8 NOT NULL DEFAULT 0, stamp bytea,
    holder text, epoch int8 NOT NULL DEFAULT 0, expires timestamptz);
CREATE TABLE tokens (token bytea PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX tokens_at ON tokens (at);
