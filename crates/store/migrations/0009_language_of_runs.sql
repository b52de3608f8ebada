-- Runs are listed by their language, which is one of their facts.
CREATE INDEX runs_of_language ON runs (project_id, CASE WHEN json_valid(facts) THEN json_extract(facts, '$.language') END, id);
