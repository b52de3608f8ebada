-- Everything that a project makes the server keep is counted where it is written, so that a quota costs one row.
ALTER TABLE projects ADD COLUMN objects BIGINT NOT NULL DEFAULT 0; -- objects and artifacts
ALTER TABLE projects ADD COLUMN history_bytes BIGINT NOT NULL DEFAULT 0; -- runs.history_bytes of all runs, and each lock that any of them has
ALTER TABLE projects ADD COLUMN dropped_bytes BIGINT NOT NULL DEFAULT 0; -- the part of runs whose history was dropped
ALTER TABLE runs ADD COLUMN history_bytes BIGINT NOT NULL DEFAULT 0; -- what is stored of the run: record, submission, events, outcome
ALTER TABLE runs ADD COLUMN history_dropped_at BIGINT; -- when submission, events and value were dropped

-- The value has a column of its own. Logs and results are kept once, as events: `logs_from` is the number of the first event of the last
-- attempt. NULL in outcomes of before, which have everything in `outcome`.
ALTER TABLE run_outcomes ADD COLUMN value TEXT;
ALTER TABLE run_outcomes ADD COLUMN logs_from BIGINT;

-- The oldest whose history can be dropped, and the oldest record that can be deleted.
CREATE INDEX runs_with_history ON runs (project_id, finished_at) WHERE finished_at IS NOT NULL AND history_dropped_at IS NULL;
CREATE INDEX runs_without_history ON runs (project_id, finished_at) WHERE history_dropped_at IS NOT NULL;

-- As `history::record_bytes` counts. `octet_length` reads no overflow pages.
UPDATE runs SET history_bytes = 1024 + 2 * octet_length(facts) + COALESCE(octet_length(comment), 0)
    + COALESCE((SELECT octet_length(submission) FROM run_submissions WHERE run_id = runs.id), 0)
    + COALESCE((SELECT octet_length(outcome) FROM run_outcomes WHERE run_id = runs.id), 0)
    + COALESCE((SELECT SUM(octet_length(lines)) FROM run_events WHERE run_id = runs.id), 0);
UPDATE projects SET
    history_bytes = COALESCE((SELECT SUM(history_bytes) FROM runs WHERE project_id = projects.id), 0)
        + COALESCE((SELECT SUM(octet_length(text)) FROM locks WHERE sha256 IN
            (SELECT sha256 FROM run_locks JOIN runs ON runs.id = run_locks.run_id WHERE runs.project_id = projects.id)), 0),
    objects = (SELECT COUNT(*) FROM objects WHERE project_id = projects.id)
        + (SELECT COUNT(*) FROM artifacts JOIN runs ON runs.id = artifacts.run_id WHERE runs.project_id = projects.id),
    -- Metadata counts as well now.
    storage_bytes = storage_bytes
        + COALESCE((SELECT SUM(octet_length(metadata)) FROM objects WHERE project_id = projects.id AND metadata <> '{}'), 0);
