BEGIN TRANSACTION;
CREATE TABLE machines (
    vm_host TEXT NOT NULL, vm_user TEXT NOT NULL, vm_ssh_port TEXT NOT NULL, vm_folder TEXT NOT NULL,
    PRIMARY KEY (vm_host, vm_user, vm_ssh_port, vm_folder));
CREATE TABLE models (
    name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL, run_id TEXT NOT NULL, tags TEXT NOT NULL,
    created_at TEXT NOT NULL, deleted_at TEXT, PRIMARY KEY (name, version));
INSERT INTO "models" VALUES('diabetes',1,'833eefccb65373bb2214cfa8efbbf16473837c10344ebd5263cdf979ddb1583d','diabetes-20261127-230813-f12f7b','{"outcome": "first", "metric": "mse 2866.31", "commit": "", "data": "15d8c534751ce1f46fcd361b6852e390d9cc8ecc72cdcc87bf39ec12cc30e528", "compute": "local", "host": "vm", "python": "3.11.7", "trained_at": "2026-11-27T23:08:19+00:00", "inputs": "34f793c087b509354bf01962b38dfc051f31f4fe780a0c3f0cb236d038ec1a8e", "inputs-01": "{\"model/checks.py\":\"sha256:4a81020b54873f87\",\"model/data.py\":\"sha256:f3af34afd75617e7\",\"model/table.py\":\"sha256:a0d8a4246d17cda2\",\"model/train.py\":\"sha256:11094bbc0da720cc\",\"config/conda_dependencies.yml\":\"sha256:e0879c8d4049a5b9\",\"train.parameters.alpha\":\"0.05\",\"train.parameters.seed\":\"42\",\"python\":\"3.11\",\"gate.metric\":\"\\\"mse\\\"\",\"gate.direction\":\"\\\"lower\\\"\",\"gate.smallest_improvement\":\"0.0\",\"gate.floor\":\"4000.0\"}"}','2026-11-27T23:08:19+00:00',NULL);
CREATE TABLE production (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, image TEXT NOT NULL, since TEXT NOT NULL,
    evidence TEXT NOT NULL);
INSERT INTO "production" VALUES(1,'diabetes',1,'e4cdc217deb2eb21e764c1447a15ae167d594b9c1466ec873cf93ce3c731a010','2026-11-27T23:08:25+00:00','{"run": "diabetes-20261127-230813-f12f7b", "verdict": "nothing is in production yet; mse 2866.31", "outcome": "first", "test": "9 checks, p50 4.4 ms, p99 46.6 ms", "by": "root@vm", "commit": ""}');
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, experiment TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
    parameters TEXT NOT NULL, commit_id TEXT NOT NULL, started_at TEXT NOT NULL,
    metrics TEXT NOT NULL DEFAULT '{}', outputs TEXT NOT NULL DEFAULT '{}', place TEXT NOT NULL DEFAULT '{}');
INSERT INTO "runs" VALUES('diabetes-20261127-230813-f12f7b','diabetes','34f793c087b509354bf01962b38dfc051f31f4fe780a0c3f0cb236d038ec1a8e','Completed','{"alpha": 0.05, "seed": 42}','','2026-11-27T23:08:13+00:00','{"mse": 2866.3095342230863, "r2": 0.4589982185720506}','{"model.joblib": "833eefccb65373bb2214cfa8efbbf16473837c10344ebd5263cdf979ddb1583d", "metrics.json": "9b54dcc12b3c7dfd71d88207a0943ee96da0cba583321fde2f9bf296e48cadef", "holdout.json": "78655dbbd73610214f26cb4b7410dad9db0ad2847dab923b44ea201088604718", "data.json": "15d8c534751ce1f46fcd361b6852e390d9cc8ecc72cdcc87bf39ec12cc30e528"}','{"compute": "local", "host": "vm", "python": "3.11.7", "environment": ""}');
CREATE TABLE services (
    name TEXT PRIMARY KEY, port INTEGER NOT NULL, workers INTEGER NOT NULL, image TEXT NOT NULL,
    model_name TEXT NOT NULL, model_version INTEGER NOT NULL, replica TEXT NOT NULL, stopped INTEGER NOT NULL,
    engine TEXT NOT NULL DEFAULT 'process', container TEXT NOT NULL DEFAULT '');
INSERT INTO "services" VALUES('diabetes-staging',9473,1,'e4cdc217deb2eb21e764c1447a15ae167d594b9c1466ec873cf93ce3c731a010','diabetes',1,'a6acbef09a73',1,'process','');
INSERT INTO "services" VALUES('diabetes',9474,2,'e4cdc217deb2eb21e764c1447a15ae167d594b9c1466ec873cf93ce3c731a010','diabetes',1,'c4cfc4741bfa',1,'process','');
CREATE TABLE workspace (id TEXT PRIMARY KEY);
CREATE INDEX runs_by_fingerprint ON runs (fingerprint, status);
CREATE UNIQUE INDEX models_by_content ON models (name, sha256) WHERE deleted_at IS NULL;
CREATE INDEX production_by_name ON production (name, id);
COMMIT;
