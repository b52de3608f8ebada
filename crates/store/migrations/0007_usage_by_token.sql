-- Usage is counted for each token. Days of before have it for the project only, under an empty token.
CREATE TABLE usage_of_tokens (
    project_id TEXT NOT NULL REFERENCES projects (id),
    day TEXT NOT NULL,
    token TEXT NOT NULL,
    runs BIGINT NOT NULL,
    cpu_ms BIGINT NOT NULL,
    wall_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, day, token)
);
INSERT INTO usage_of_tokens (project_id, day, token, runs, cpu_ms, wall_ms)
    SELECT project_id, day, '', runs, cpu_ms, wall_ms FROM usage_days;
DROP TABLE usage_days;
ALTER TABLE usage_of_tokens RENAME TO usage_days;
