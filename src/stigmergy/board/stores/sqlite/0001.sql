-- The schema of a board in SQLite, version 1. Later versions are migrations, append-only.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Tasks that the same agents can take: a type and what is required (sorted JSON list).
CREATE TABLE lanes (
  lane INTEGER PRIMARY KEY,
  task_type TEXT NOT NULL,
  requires TEXT NOT NULL,
  UNIQUE (task_type, requires)
) STRICT;

CREATE TABLE tasks (
  place INTEGER PRIMARY KEY,            -- the posting order
  task_id TEXT NOT NULL UNIQUE,
  lane INTEGER NOT NULL REFERENCES lanes,
  rank REAL NOT NULL,                   -- the claim order, fixed at posting
  ready INTEGER NOT NULL,               -- 1: pending, nothing holds it back (its time had come)
  blocked INTEGER NOT NULL,             -- 1: it waits for other tasks
  task_type TEXT NOT NULL,
  description TEXT NOT NULL,
  payload TEXT NOT NULL,
  requires TEXT NOT NULL,
  depends_on TEXT NOT NULL,
  waiting_on TEXT NOT NULL,
  parent_id TEXT,
  priority INTEGER NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  not_before REAL NOT NULL,
  created_at REAL NOT NULL,
  claimed_by TEXT,
  claimed_at REAL,
  lease_until REAL,
  fence INTEGER NOT NULL,
  finished_at REAL,
  result TEXT,
  error TEXT
) STRICT;

CREATE INDEX tasks_ready ON tasks (lane, rank, place) WHERE ready = 1;
CREATE INDEX tasks_due ON tasks (not_before)
  WHERE status = 'pending' AND ready = 0 AND blocked = 0;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_children ON tasks (parent_id, status) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_status ON tasks (status, place);

-- Who still waits for whom.
CREATE TABLE waits (
  needs TEXT NOT NULL,
  task_id TEXT NOT NULL,
  PRIMARY KEY (needs, task_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  task_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;

CREATE INDEX events_task ON events (task_id, seq) WHERE task_id <> '';
