-- Times are milliseconds since 1970, ids a prefix and a UUIDv7 (they sort by time), JSON is TEXT. BIGINT and $n, so that PostgreSQL can follow.

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Of objects and artifacts; kept here so that a quota costs one row.
    storage_bytes BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    -- SHA-256 of the token. It has 256 bits of randomness, so nothing slower is needed.
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_of_project ON tokens (project_id, id);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    attempt BIGINT NOT NULL,
    -- When the next attempt is due; of a queued run only.
    due_at BIGINT NOT NULL,
    runtime TEXT,
    comment TEXT,
    usage TEXT,
    -- What never changes: language, entry, hash, labels, policy, limits, who asked.
    facts TEXT NOT NULL
);
CREATE INDEX runs_of_project ON runs (project_id, id);
CREATE INDEX runs_of_status ON runs (project_id, status, id);
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;
CREATE INDEX runs_finished ON runs (project_id, finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE run_labels (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, name, value, run_id)
) WITHOUT ROWID;
CREATE INDEX run_labels_of_run ON run_labels (run_id);

-- What was asked, to run it again.
CREATE TABLE run_submissions (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    submission TEXT NOT NULL
);

-- How it ended: the outcome, and its events, one a line.
CREATE TABLE run_outcomes (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    outcome TEXT NOT NULL
);
CREATE TABLE run_events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    -- Of the first event in it.
    seq BIGINT NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE artifacts (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE INDEX artifacts_of_blob ON artifacts (blob);

CREATE TABLE idempotency_keys (
    project_id TEXT NOT NULL REFERENCES projects (id),
    key TEXT NOT NULL,
    -- SHA-256 of the submission: the same key with another body is a mistake.
    submission_sha256 TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_of_run ON idempotency_keys (run_id);

CREATE TABLE callbacks (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL
);
CREATE INDEX callbacks_due ON callbacks (due_at);

CREATE TABLE objects (
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    md5 TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (project_id, name)
) WITHOUT ROWID;
CREATE INDEX objects_of_blob ON objects (blob);

-- Contents that nothing refers to any more, to be deleted. Written with what made them so: a crash cannot lose one.
CREATE TABLE doomed_blobs (
    blob TEXT PRIMARY KEY,
    since BIGINT NOT NULL
);

CREATE TABLE usage_days (
    project_id TEXT NOT NULL REFERENCES projects (id),
    day TEXT NOT NULL,
    runs BIGINT NOT NULL,
    cpu_ms BIGINT NOT NULL,
    wall_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, day)
);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    timestamp BIGINT NOT NULL,
    project TEXT,
    actor TEXT NOT NULL,
    source TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    details TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_of_project ON audit (project, seq);

-- The trail is only ever added to.
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
