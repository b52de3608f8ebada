-- The locks that runs' packages were installed from: each text once, and which run had which.
CREATE TABLE locks (
    sha256 TEXT PRIMARY KEY,
    -- `uv.lock` or `pnpm-lock.yaml`.
    file_name TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE TABLE run_locks (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES locks (sha256)
);
CREATE INDEX run_locks_of_lock ON run_locks (sha256);
