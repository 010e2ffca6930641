-- The schema of a board in SQLite as it is now. The numbered files beside this one lead to it from
-- every released version; a test holds them equal.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Tasks that are alike to a claim: a type, what is required (sorted JSON list), a limit key or ''.
CREATE TABLE lanes (
  lane INTEGER PRIMARY KEY,
  task_type TEXT NOT NULL,
  requires TEXT NOT NULL,
  limit_key TEXT NOT NULL,
  UNIQUE (task_type, requires, limit_key)
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

-- A change of a task writes a page for each index that it moves in, and a synced commit pays for
-- every page: so there is none over all statuses, and most hold a few tasks only.
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

-- Who still waits for whom.
CREATE TABLE waits (
  needs TEXT NOT NULL,
  task_id TEXT NOT NULL,
  PRIMARY KEY (needs, task_id)
) STRICT, WITHOUT ROWID;

-- What the board as a whole was told: pauses, limits, schedules.
CREATE TABLE rules (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  gates INTEGER NOT NULL,               -- 1: every claim looks at it
  due_at REAL                           -- a claim looks at it from then on
) STRICT, WITHOUT ROWID;

-- seq never comes again: the latest event is never dropped.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  task_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;

CREATE INDEX events_task ON events (task_id, seq) WHERE task_id <> '';
