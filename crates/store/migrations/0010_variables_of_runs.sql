-- The variables that a caller passed to an unfinished run, encrypted. They are deleted with its end.
CREATE TABLE run_variables (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
);
