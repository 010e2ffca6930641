-- Version 2: keys for uniqueness and limits, fair sharing, progress, rules; fewer pages a commit.

DROP INDEX tasks_ready;
DROP INDEX tasks_due;
DROP INDEX tasks_leased;
DROP INDEX tasks_children;
DROP INDEX tasks_status;
ALTER TABLE lanes RENAME TO lanes_1;
ALTER TABLE tasks RENAME TO tasks_1;
ALTER TABLE events RENAME TO events_1;
DROP INDEX events_task;

CREATE TABLE lanes (
  lane INTEGER PRIMARY KEY,
  task_type TEXT NOT NULL,
  requires TEXT NOT NULL,
  limit_key TEXT NOT NULL,
  UNIQUE (task_type, requires, limit_key)
) STRICT;
INSERT INTO lanes SELECT lane, task_type, requires, '' FROM lanes_1;

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
  unique_key TEXT,
  limit_key TEXT,
  priority INTEGER NOT NULL,
  lag_s REAL NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  not_before REAL NOT NULL,
  created_at REAL NOT NULL,
  claimed_by TEXT,
  claimed_at REAL,
  lease_until REAL,
  fence INTEGER NOT NULL,
  progress TEXT,
  finished_at REAL,
  result TEXT,
  error TEXT
) STRICT;
INSERT INTO tasks SELECT place, task_id, lane, rank, ready, blocked, task_type, description,
  payload, requires, depends_on, waiting_on, parent_id, NULL, NULL, priority, 0.0, status, attempts,
  max_attempts, not_before, created_at, claimed_by, claimed_at, lease_until, fence, NULL,
  finished_at, result, error FROM tasks_1;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  task_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;
INSERT INTO events SELECT seq, at, kind, task_id, agent_id, data FROM events_1;

DROP TABLE tasks_1;
DROP TABLE lanes_1;
DROP TABLE events_1;

CREATE INDEX tasks_ready ON tasks (lane, rank, place) WHERE ready = 1;
CREATE INDEX tasks_due ON tasks (not_before)
  WHERE status = 'pending' AND ready = 0 AND blocked = 0;
CREATE INDEX tasks_blocked ON tasks (place) WHERE blocked = 1;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_dead ON tasks (status, place) WHERE status IN ('failed', 'cancelled');
CREATE INDEX tasks_children ON tasks (parent_id, status, priority, rank)
  WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX tasks_unique ON tasks (unique_key)
  WHERE unique_key IS NOT NULL AND status IN ('pending', 'claimed', 'in_progress');

CREATE TABLE rules (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  gates INTEGER NOT NULL,               -- 1: every claim looks at it
  due_at REAL                           -- a claim looks at it from then on
) STRICT, WITHOUT ROWID;

CREATE INDEX events_task ON events (task_id, seq) WHERE task_id <> '';
