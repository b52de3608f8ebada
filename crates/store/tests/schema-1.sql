-- A database of the first schema with a project, a token, a run and an object in it, as `sqlite3 .dump` writes it. Schemas only go forward: this one
-- has to open for ever.
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'first','2026-11-22 05:48:37',1,X'F59D87AB8BAB5C6C7C5D7BE37EA29B1F7D5C07C629BCD89A50DB100DB84BBE3E2319E206A71A72F6F9913FCEE90C0EEE',2623817);
CREATE TABLE artifacts (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
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
INSERT INTO "audit" VALUES(1,1795326517391,'default','operator',NULL,'project.create','default','{}','0000000000000000000000000000000000000000000000000000000000000000','fdf62868e6526a5273a8d64fcb6e5743dfb2f1ca3937e151307fb767c9e9461a');
INSERT INTO "audit" VALUES(2,1795326517392,'default','operator',NULL,'token.create','tok_01a201cca08f710db0e5f58aa2874d44','{"expires_at":null,"name":"first","scopes":["run","read","storage","secrets","admin"]}','fdf62868e6526a5273a8d64fcb6e5743dfb2f1ca3937e151307fb767c9e9461a','685579bb284b4cec2ade53c95b43fbc847c5fdf5f75a87f58fde7dd572c594dd');
INSERT INTO "audit" VALUES(3,1795326519337,'default','tok_01a201cca08f710db0e5f58aa2874d44','127.0.0.1','run.submit','run_01a201cca82876b6bc517e601185eec7','{"code_sha256":"0c48b38af59be2c9ecd3337c926d4b6daf9d8d6243a22a2de741c342ca83089c","language":"python","limits":{"cpu_ms":10000,"disk_bytes":67108864,"files":10000,"memory_bytes":268435456,"open_files":256,"output_bytes":1048576,"processes":64,"result_bytes":10485760,"timeout_ms":30000},"policy":{"env":{},"exec":false,"fs":{"read":[],"write":[]},"loopback":false,"net":[],"secrets":[],"storage":{"read":[""],"write":[""]}},"rerun_of":null}','685579bb284b4cec2ade53c95b43fbc847c5fdf5f75a87f58fde7dd572c594dd','b81209a51ac3affc5669d522081055ea6642ea9d7c237e43dc3d96edcef3f7f1');
INSERT INTO "audit" VALUES(4,1795326519787,'default','tok_01a201cca08f710db0e5f58aa2874d44',NULL,'run.finish','run_01a201cca82876b6bc517e601185eec7','{"attempt":1,"code_sha256":"0c48b38af59be2c9ecd3337c926d4b6daf9d8d6243a22a2de741c342ca83089c","denied":[],"runtime":"python@3.11.7","status":"succeeded","usage":{"cpu_system_ms":0.0,"cpu_user_ms":2.155,"output_bytes":2,"peak_memory_bytes":2359296,"processes":1,"wall_ms":7.528}}','b81209a51ac3affc5669d522081055ea6642ea9d7c237e43dc3d96edcef3f7f1','c3a6b69db397bc9dfe8fb2594175e6cfe33cc0250a2f96475200df274e61deef');
INSERT INTO "audit" VALUES(5,1795326519812,'default','tok_01a201cca08f710db0e5f58aa2874d44','127.0.0.1','object.put','in/a.txt','{"sha256":"98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4","size_bytes":3}','c3a6b69db397bc9dfe8fb2594175e6cfe33cc0250a2f96475200df274e61deef','6f4c4de6a15857085e29b494d55da5b46a838b9a501edd82ab889ec5a9b39f74');
CREATE TABLE callbacks (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL
);
CREATE TABLE doomed_blobs (
    blob TEXT PRIMARY KEY,
    since BIGINT NOT NULL
);
CREATE TABLE idempotency_keys (
    project_id TEXT NOT NULL REFERENCES projects (id),
    key TEXT NOT NULL,
    -- SHA-256 of the submission: the same key with another body is a mistake.
    submission_sha256 TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, key)
);
INSERT INTO "idempotency_keys" VALUES('prj_01a201cca08e716d9cc2e4cc6cb30b5d','k','71f120a9e2e751a6152e301bce5eef7c8ef4cbbde909408c03400c3ffc573d25','run_01a201cca82876b6bc517e601185eec7',1795326519337);
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
INSERT INTO "objects" VALUES('prj_01a201cca08e716d9cc2e4cc6cb30b5d','in/a.txt',3,'application/octet-stream','764efa883dda1e11db47671c4a3bbd9e','98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4','{}',1795326519812,1795326519812,'prj_01a201cca08e716d9cc2e4cc6cb30b5d/01a201cc-a9ff-767f-a0b5-d1b42d41712d');
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Of objects and artifacts; kept here so that a quota costs one row.
    storage_bytes BIGINT NOT NULL DEFAULT 0
);
INSERT INTO "projects" VALUES('prj_01a201cca08e716d9cc2e4cc6cb30b5d','default','{"policy":{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[""],"write":[""]}},"limits":{},"quotas":{}}',1795326517390,3);
CREATE TABLE run_events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    -- Of the first event in it.
    seq BIGINT NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
INSERT INTO "run_events" VALUES('run_01a201cca82876b6bc517e601185eec7',0,'{"seq":0,"timestamp":"2026-11-22T05:48:39.336Z","type":"queued","id":"run_01a201cca82876b6bc517e601185eec7"}
{"seq":1,"timestamp":"2026-11-22T05:48:39.771Z","type":"started","sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}
{"seq":2,"timestamp":"2026-11-22T05:48:39.773Z","type":"log","level":"info","message":"1"}
{"seq":3,"timestamp":"2026-11-22T05:48:39.779Z","type":"finished","outcome":{"id":"run_01a201cca82876b6bc517e601185eec7","status":"succeeded","value":42,"error":null,"logs":[{"timestamp":"2026-11-22T05:48:39.773Z","level":"info","message":"1"}],"results":[],"artifacts":[],"usage":{"wall_ms":7.528,"cpu_user_ms":2.155,"cpu_system_ms":0.0,"peak_memory_bytes":2359296,"output_bytes":2,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}}
');
CREATE TABLE run_labels (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, name, value, run_id)
) WITHOUT ROWID;
INSERT INTO "run_labels" VALUES('prj_01a201cca08e716d9cc2e4cc6cb30b5d','team','a','run_01a201cca82876b6bc517e601185eec7');
CREATE TABLE run_outcomes (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    outcome TEXT NOT NULL
);
INSERT INTO "run_outcomes" VALUES('run_01a201cca82876b6bc517e601185eec7','{"id":"run_01a201cca82876b6bc517e601185eec7","status":"succeeded","value":42,"error":null,"logs":[{"timestamp":"2026-11-22T05:48:39.773Z","level":"info","message":"1"}],"results":[],"artifacts":[],"usage":{"wall_ms":7.528,"cpu_user_ms":2.155,"cpu_system_ms":0.0,"peak_memory_bytes":2359296,"output_bytes":2,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}');
CREATE TABLE run_submissions (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    submission TEXT NOT NULL
);
INSERT INTO "run_submissions" VALUES('run_01a201cca82876b6bc517e601185eec7','{"language":"python","code":"print(1)\n6*7","limits":{},"finish":"idle","start":"auto","labels":{"team":"a"},"comment":"first","priority":"interactive"}');
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
INSERT INTO "runs" VALUES('run_01a201cca82876b6bc517e601185eec7','prj_01a201cca08e716d9cc2e4cc6cb30b5d','succeeded',1795326519336,1795326519338,1795326519782,1,1795326519336,'python@3.11.7','first','{"wall_ms":7.528,"cpu_user_ms":2.155,"cpu_system_ms":0.0,"peak_memory_bytes":2359296,"output_bytes":2,"processes":1}','{"language":"python","entry":"main.py","code_sha256":"0c48b38af59be2c9ecd3337c926d4b6daf9d8d6243a22a2de741c342ca83089c","labels":{"team":"a"},"priority":"interactive","attempts":1,"rerun_of":null,"token":"tok_01a201cca08f710db0e5f58aa2874d44","policy":{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[""],"write":[""]}},"limits":{"timeout_ms":30000,"cpu_ms":10000,"memory_bytes":268435456,"processes":64,"disk_bytes":67108864,"files":10000,"output_bytes":1048576,"open_files":256,"result_bytes":10485760}}');
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
INSERT INTO "tokens" VALUES('tok_01a201cca08f710db0e5f58aa2874d44','prj_01a201cca08e716d9cc2e4cc6cb30b5d','first','bjr_LsOn','3066650ebdf1bdb3641075f84c6a8aa3c928e1df11d909b402029f3c0d1f0649','["run","read","storage","secrets","admin"]',1795326517391,NULL,1795326519336,NULL);
CREATE TABLE usage_days (
    project_id TEXT NOT NULL REFERENCES projects (id),
    day TEXT NOT NULL,
    runs BIGINT NOT NULL,
    cpu_ms BIGINT NOT NULL,
    wall_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, day)
);
INSERT INTO "usage_days" VALUES('prj_01a201cca08e716d9cc2e4cc6cb30b5d','2026-11-22',1,3,8);
CREATE INDEX tokens_of_project ON tokens (project_id, id);
CREATE INDEX runs_of_project ON runs (project_id, id);
CREATE INDEX runs_of_status ON runs (project_id, status, id);
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;
CREATE INDEX runs_finished ON runs (project_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX run_labels_of_run ON run_labels (run_id);
CREATE INDEX artifacts_of_blob ON artifacts (blob);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_of_run ON idempotency_keys (run_id);
CREATE INDEX callbacks_due ON callbacks (due_at);
CREATE INDEX objects_of_blob ON objects (blob);
CREATE INDEX audit_of_project ON audit (project, seq);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
COMMIT;
