-- The name of every token that there ever was, so that runs and the trail show it after the token is gone. A token is never renamed.
-- Names that the trail uses for other actors are left out, so that a token cannot pose as one of them.
CREATE TABLE token_names (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE INDEX token_names_by_name ON token_names (project_id, name);
INSERT INTO token_names (id, project_id, name) SELECT id, project_id, name FROM tokens;
-- Tokens that are gone were created in the trail. Those of a deleted project have no project.
INSERT OR IGNORE INTO token_names (id, project_id, name)
    SELECT target, COALESCE((SELECT projects.id FROM projects WHERE projects.name = audit.project AND projects.created_at <= audit.timestamp), ''),
        json_extract(details, '$.name')
    FROM audit WHERE target >= 'tok_' AND target < 'tok`' AND action = 'token.create' AND json_extract(details, '$.name') IS NOT NULL;
DELETE FROM token_names WHERE name IN ('operator', 'belljar', 'anonymous', 'signed-url') OR substr(name, 1, 4) IN ('tok_', 'run_');

-- The name of the token that submitted the run, or the token itself if it has none.
ALTER TABLE runs ADD COLUMN submitted_by TEXT NOT NULL DEFAULT '';
UPDATE runs SET submitted_by = COALESCE((SELECT name FROM token_names WHERE id = json_extract(facts, '$.token')), json_extract(facts, '$.token'), '')
    WHERE json_valid(facts);
CREATE INDEX runs_of_submitter ON runs (project_id, submitted_by, id);
