-- Costs are whole billionths of a US dollar, rounded up: sums are exact and never too small.
CREATE TABLE IF NOT EXISTS spend (
  scope             TEXT PRIMARY KEY,
  tokens            INTEGER NOT NULL DEFAULT 0,
  cost_nano         INTEGER NOT NULL DEFAULT 0,
  unpriced_tokens   INTEGER NOT NULL DEFAULT 0,
  estimated_tokens  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- One row for each scope of each call under way.
CREATE TABLE IF NOT EXISTS reservation (
  id         TEXT NOT NULL,
  scope      TEXT NOT NULL,
  owner      TEXT NOT NULL,
  tokens     INTEGER NOT NULL,
  cost_nano  INTEGER,            -- NULL: the price is not known
  PRIMARY KEY (scope, id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS reservation_by_id ON reservation (id);
CREATE INDEX IF NOT EXISTS reservation_by_owner ON reservation (owner);
