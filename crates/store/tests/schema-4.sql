-- A database of the fourth schema, of before quotas of history: a run with logs, a displayed result, an artifact and a lock, a run of two attempts, and
-- an object with metadata, as `sqlite3 .dump` writes it. The lock was added by hand. Schemas only go forward: this one has to open for ever.
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
INSERT INTO "_sqlx_migrations" VALUES(1,'first','2026-11-29 16:51:50',1,X'F59D87AB8BAB5C6C7C5D7BE37EA29B1F7D5C07C629BCD89A50DB100DB84BBE3E2319E206A71A72F6F9913FCEE90C0EEE',1752876);
INSERT INTO "_sqlx_migrations" VALUES(2,'audit of target','2026-11-29 16:51:50',1,X'9AD598785F5508C2EC742B9C29212EF1CFB2927B8D034530FBD5D3259CB94DAFDEDEACF6FCF8E932B01D367EC4D41A6E',200760);
INSERT INTO "_sqlx_migrations" VALUES(3,'numbers of events','2026-11-29 16:51:50',1,X'DAA830B82195B7A8EA82D6D21C7CF5AA436DA509CCFB80287AAB56C985BD76F7F93ACAEBE0F1032BCB84DF2AEE4E1408',441739);
INSERT INTO "_sqlx_migrations" VALUES(4,'locks','2026-11-29 16:51:50',1,X'F3B63220C328DC2015C539B26B16E90C262E1FB5E3DED27D55809449B94E942CC170F18E9E58D1E42CC62473EE7CF401',351294);
CREATE TABLE artifacts (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
);
INSERT INTO "artifacts" VALUES('run_01a228385a20724cbe2142bab24e3129','a.txt',3,'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad','prj_01a228385504742d90c9fe927febb478/01a22838-61dd-71e4-94b4-5f8b55a638c6');
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
INSERT INTO "audit" VALUES(1,1795971110148,'default','operator',NULL,'project.create','default','{}','0000000000000000000000000000000000000000000000000000000000000000','5df6bdba755a6ac32818494bc3bee9ad117ee477af19ac3aaf059d683cb9bced');
INSERT INTO "audit" VALUES(2,1795971110150,'default','operator',NULL,'token.create','tok_01a22838550574f082a13a8e5558f448','{"expires_at":null,"name":"first","scopes":["run","read","storage","secrets","admin"]}','5df6bdba755a6ac32818494bc3bee9ad117ee477af19ac3aaf059d683cb9bced','f603d30a3c15f483068443162e870cb9d5de442b10dbbc0a765f103e1b853d99');
INSERT INTO "audit" VALUES(3,1795971111457,'default','tok_01a22838550574f082a13a8e5558f448','127.0.0.1','run.submit','run_01a228385a20724cbe2142bab24e3129','{"code_sha256":"23f6c071f5e1362c7746accbccec07fc2e68607300f9e5a6f3cd765443bcb557","language":"python","limits":{"cpu_ms":10000,"disk_bytes":67108864,"files":10000,"memory_bytes":268435456,"open_files":256,"output_bytes":1048576,"processes":64,"result_bytes":10485760,"timeout_ms":30000},"policy":{"env":{},"exec":false,"fs":{"read":[],"write":[]},"loopback":false,"net":[],"secrets":[],"storage":{"read":[""],"write":[""]}},"rerun_of":null}','f603d30a3c15f483068443162e870cb9d5de442b10dbbc0a765f103e1b853d99','e96fad454cc317394dc8217400bb41fa5a463820a537efb2468659cff1e44e32');
INSERT INTO "audit" VALUES(4,1795971113644,'default','tok_01a22838550574f082a13a8e5558f448',NULL,'run.finish','run_01a228385a20724cbe2142bab24e3129','{"attempt":1,"code_sha256":"23f6c071f5e1362c7746accbccec07fc2e68607300f9e5a6f3cd765443bcb557","denied":[],"environment":null,"lock_sha256":null,"runtime":"python@3.11.7","status":"succeeded","usage":{"cpu_system_ms":0.0,"cpu_user_ms":4.371,"output_bytes":76,"peak_memory_bytes":2617344,"processes":1,"wall_ms":13.026}}','e96fad454cc317394dc8217400bb41fa5a463820a537efb2468659cff1e44e32','ef14020aa6130804c63ccd7982238392bc9aabf06da87141d4597581eb20bae2');
INSERT INTO "audit" VALUES(5,1795971113660,'default','tok_01a22838550574f082a13a8e5558f448','127.0.0.1','run.submit','run_01a2283862b373738a83e24ea14b4dd1','{"code_sha256":"95be6f3c663286804e463ebe3637cb2268096eacf7861fa551dffe22ed6fb8a2","language":"python","limits":{"cpu_ms":10000,"disk_bytes":67108864,"files":10000,"memory_bytes":268435456,"open_files":256,"output_bytes":1048576,"processes":64,"result_bytes":10485760,"timeout_ms":30000},"policy":{"env":{},"exec":false,"fs":{"read":[],"write":[]},"loopback":false,"net":[],"secrets":[],"storage":{"read":[""],"write":[""]}},"rerun_of":null}','ef14020aa6130804c63ccd7982238392bc9aabf06da87141d4597581eb20bae2','de0e834c7f84e70c95a606e9f2f179867ecf0c8e96fb15d988a4cd7b0de48f32');
INSERT INTO "audit" VALUES(6,1795971113797,'default','belljar',NULL,'run.retry','run_01a2283862b373738a83e24ea14b4dd1','{"attempt":2,"status":"failed"}','de0e834c7f84e70c95a606e9f2f179867ecf0c8e96fb15d988a4cd7b0de48f32','e0595de18529128b180ca3222a6ddce6359d1a0eab07806e6ba30fbd6f7995a9');
INSERT INTO "audit" VALUES(7,1795971113861,'default','tok_01a22838550574f082a13a8e5558f448',NULL,'run.finish','run_01a2283862b373738a83e24ea14b4dd1','{"attempt":2,"code_sha256":"95be6f3c663286804e463ebe3637cb2268096eacf7861fa551dffe22ed6fb8a2","denied":[],"environment":null,"lock_sha256":null,"runtime":"python@3.11.7","status":"failed","usage":{"cpu_system_ms":0.0,"cpu_user_ms":6.888,"output_bytes":8,"peak_memory_bytes":5173248,"processes":1,"wall_ms":53.908}}','e0595de18529128b180ca3222a6ddce6359d1a0eab07806e6ba30fbd6f7995a9','67181d1fc8b60856d6cd094871ca9a42eea0345ba4f65a5237a92911383f4b93');
INSERT INTO "audit" VALUES(8,1795971113866,'default','tok_01a22838550574f082a13a8e5558f448','127.0.0.1','object.put','in/x','{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size_bytes":3}','67181d1fc8b60856d6cd094871ca9a42eea0345ba4f65a5237a92911383f4b93','1c3e3195b92356f436badcb4212383d3068a98118f488a422870ce29c0cfe8eb');
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
CREATE TABLE locks (
    sha256 TEXT PRIMARY KEY,
    -- `uv.lock` or `pnpm-lock.yaml`.
    file_name TEXT NOT NULL,
    text TEXT NOT NULL
);
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
INSERT INTO "objects" VALUES('prj_01a228385504742d90c9fe927febb478','in/x',3,'text/plain','900150983cd24fb0d6963f7d28e17f72','ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad','{"a":"one"}',1795971113864,1795971113864,'prj_01a228385504742d90c9fe927febb478/01a22838-6387-77ca-985d-879a4923cba1');
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Of objects and artifacts; kept here so that a quota costs one row.
    storage_bytes BIGINT NOT NULL DEFAULT 0
);
INSERT INTO "projects" VALUES('prj_01a228385504742d90c9fe927febb478','default','{"policy":{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[""],"write":[""]}},"limits":{},"packages":{"enabled":true,"allowed":[],"blocked":[],"minimum_release_age_days":0,"least_release_age_days":0,"allow_build":true,"trusted":["*"]},"quotas":{}}',1795971110148,6);
CREATE TABLE run_events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    -- Of the first event in it.
    seq BIGINT NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
INSERT INTO "run_events" VALUES('run_01a228385a20724cbe2142bab24e3129',0,'{"seq":0,"timestamp":"2026-11-29T16:51:51.456Z","type":"queued","id":"run_01a228385a20724cbe2142bab24e3129"}
');
INSERT INTO "run_events" VALUES('run_01a228385a20724cbe2142bab24e3129',1,'{"seq":1,"timestamp":"2026-11-29T16:51:53.422Z","type":"started","sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}
{"seq":2,"timestamp":"2026-11-29T16:51:53.435Z","type":"result","result":{"type":"text/html","data":"<b>shown</b>"}}
{"seq":3,"timestamp":"2026-11-29T16:51:53.435Z","type":"log","level":"info","message":"first"}
{"seq":4,"timestamp":"2026-11-29T16:51:53.435Z","type":"log","level":"info","message":"last"}
{"seq":5,"timestamp":"2026-11-29T16:51:53.436Z","type":"artifact","artifact":{"name":"a.txt","size_bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}
{"seq":6,"timestamp":"2026-11-29T16:51:53.597Z","type":"finished","outcome":{"id":"run_01a228385a20724cbe2142bab24e3129","status":"succeeded","value":{"total":41.5},"error":null,"logs":[{"timestamp":"2026-11-29T16:51:53.435Z","level":"info","message":"first"},{"timestamp":"2026-11-29T16:51:53.435Z","level":"info","message":"last"}],"results":[{"type":"text/html","data":"<b>shown</b>"}],"artifacts":[{"name":"a.txt","size_bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}],"usage":{"wall_ms":13.026,"cpu_user_ms":4.371,"cpu_system_ms":0.0,"peak_memory_bytes":2617344,"output_bytes":76,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}}
');
INSERT INTO "run_events" VALUES('run_01a2283862b373738a83e24ea14b4dd1',0,'{"seq":0,"timestamp":"2026-11-29T16:51:53.651Z","type":"queued","id":"run_01a2283862b373738a83e24ea14b4dd1"}
{"seq":1,"timestamp":"2026-11-29T16:51:53.652Z","type":"started","sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}
{"seq":2,"timestamp":"2026-11-29T16:51:53.687Z","type":"log","level":"info","message":"attempt"}
{"seq":3,"timestamp":"2026-11-29T16:51:53.688Z","type":"progress","message":"attempt 1 of 2 ended: failed; the next one starts in 1 ms"}
');
INSERT INTO "run_events" VALUES('run_01a2283862b373738a83e24ea14b4dd1',4,'{"seq":4,"timestamp":"2026-11-29T16:51:53.805Z","type":"started","sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}
{"seq":5,"timestamp":"2026-11-29T16:51:53.831Z","type":"log","level":"info","message":"attempt"}
{"seq":6,"timestamp":"2026-11-29T16:51:53.859Z","type":"finished","outcome":{"id":"run_01a2283862b373738a83e24ea14b4dd1","status":"failed","value":null,"error":{"name":"ValueError","message":"x","stack":"Traceback (most recent call last):\n  File \"/home/user/main.py\", line 2, in <module>\n    raise ValueError(''x'')\nValueError: x"},"logs":[{"timestamp":"2026-11-29T16:51:53.831Z","level":"info","message":"attempt"}],"results":[],"artifacts":[],"usage":{"wall_ms":53.908,"cpu_user_ms":6.888,"cpu_system_ms":0.0,"peak_memory_bytes":5173248,"output_bytes":8,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}}
');
CREATE TABLE run_labels (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, name, value, run_id)
) WITHOUT ROWID;
INSERT INTO "run_labels" VALUES('prj_01a228385504742d90c9fe927febb478','team','a','run_01a228385a20724cbe2142bab24e3129');
CREATE TABLE run_locks (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES locks (sha256)
);
CREATE TABLE run_outcomes (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    outcome TEXT NOT NULL
);
INSERT INTO "run_outcomes" VALUES('run_01a228385a20724cbe2142bab24e3129','{"id":"run_01a228385a20724cbe2142bab24e3129","status":"succeeded","value":{"total":41.5},"error":null,"logs":[{"timestamp":"2026-11-29T16:51:53.435Z","level":"info","message":"first"},{"timestamp":"2026-11-29T16:51:53.435Z","level":"info","message":"last"}],"results":[{"type":"text/html","data":"<b>shown</b>"}],"artifacts":[{"name":"a.txt","size_bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}],"usage":{"wall_ms":13.026,"cpu_user_ms":4.371,"cpu_system_ms":0.0,"peak_memory_bytes":2617344,"output_bytes":76,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}');
INSERT INTO "run_outcomes" VALUES('run_01a2283862b373738a83e24ea14b4dd1','{"id":"run_01a2283862b373738a83e24ea14b4dd1","status":"failed","value":null,"error":{"name":"ValueError","message":"x","stack":"Traceback (most recent call last):\n  File \"/home/user/main.py\", line 2, in <module>\n    raise ValueError(''x'')\nValueError: x"},"logs":[{"timestamp":"2026-11-29T16:51:53.831Z","level":"info","message":"attempt"}],"results":[],"artifacts":[],"usage":{"wall_ms":53.908,"cpu_user_ms":6.888,"cpu_system_ms":0.0,"peak_memory_bytes":5173248,"output_bytes":8,"processes":1},"sandbox":{"runtime":"python@3.11.7","start":"fork","environment":null,"degraded":[]}}');
CREATE TABLE run_submissions (
    run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    submission TEXT NOT NULL
);
INSERT INTO "run_submissions" VALUES('run_01a228385a20724cbe2142bab24e3129','{"language":"python","code":"import belljar\nprint(''first'')\nbelljar.display(''<b>shown</b>'', type=''text/html'')\nprint(''last'')\nopen(''outputs/a.txt'',''w'').write(''abc'')\n{''total'': 41.5}","limits":{},"finish":"idle","start":"auto","labels":{"team":"a"},"comment":"of before","priority":"interactive"}');
INSERT INTO "run_submissions" VALUES('run_01a2283862b373738a83e24ea14b4dd1','{"language":"python","code":"print(''attempt'')\nraise ValueError(''x'')","limits":{},"finish":"idle","start":"auto","retry":{"attempts":2,"on":["failed"],"backoff_ms":1},"priority":"interactive"}');
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
, event_numbers_end BIGINT NOT NULL DEFAULT 0);
INSERT INTO "runs" VALUES('run_01a228385a20724cbe2142bab24e3129','prj_01a228385504742d90c9fe927febb478','succeeded',1795971111456,1795971111456,1795971113627,1,1795971111456,'python@3.11.7','of before','{"wall_ms":13.026,"cpu_user_ms":4.371,"cpu_system_ms":0.0,"peak_memory_bytes":2617344,"output_bytes":76,"processes":1}','{"language":"python","entry":"main.py","code_sha256":"23f6c071f5e1362c7746accbccec07fc2e68607300f9e5a6f3cd765443bcb557","labels":{"team":"a"},"priority":"interactive","attempts":1,"rerun_of":null,"token":"tok_01a22838550574f082a13a8e5558f448","policy":{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[""],"write":[""]}},"limits":{"timeout_ms":30000,"cpu_ms":10000,"memory_bytes":268435456,"processes":64,"disk_bytes":67108864,"files":10000,"output_bytes":1048576,"open_files":256,"result_bytes":10485760}}',10000);
INSERT INTO "runs" VALUES('run_01a2283862b373738a83e24ea14b4dd1','prj_01a228385504742d90c9fe927febb478','failed',1795971113651,1795971113804,1795971113860,2,1795971113689,'python@3.11.7',NULL,'{"wall_ms":53.908,"cpu_user_ms":6.888,"cpu_system_ms":0.0,"peak_memory_bytes":5173248,"output_bytes":8,"processes":1}','{"language":"python","entry":"main.py","code_sha256":"95be6f3c663286804e463ebe3637cb2268096eacf7861fa551dffe22ed6fb8a2","labels":{},"priority":"interactive","attempts":2,"rerun_of":null,"token":"tok_01a22838550574f082a13a8e5558f448","policy":{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[""],"write":[""]}},"limits":{"timeout_ms":30000,"cpu_ms":10000,"memory_bytes":268435456,"processes":64,"disk_bytes":67108864,"files":10000,"output_bytes":1048576,"open_files":256,"result_bytes":10485760}}',10000);
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
INSERT INTO "tokens" VALUES('tok_01a22838550574f082a13a8e5558f448','prj_01a228385504742d90c9fe927febb478','first','bjr_cXlk','b79fd4e1b5556bbcc3543e8b80a6774eb16b30665084e1b3748eadb29e7dfb51','["run","read","storage","secrets","admin"]',1795971110149,NULL,1795971111455,NULL);
CREATE TABLE usage_days (
    project_id TEXT NOT NULL REFERENCES projects (id),
    day TEXT NOT NULL,
    runs BIGINT NOT NULL,
    cpu_ms BIGINT NOT NULL,
    wall_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, day)
);
INSERT INTO "usage_days" VALUES('prj_01a228385504742d90c9fe927febb478','2026-11-29',2,12,68);
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
CREATE INDEX audit_of_target ON audit (target, seq);
CREATE INDEX run_locks_of_lock ON run_locks (sha256);
INSERT INTO "locks" VALUES('l','uv.lock','version = 1');
INSERT INTO "run_locks" VALUES('run_01a228385a20724cbe2142bab24e3129','l');
COMMIT;
