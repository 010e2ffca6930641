-- The schema of a memory as it is now. The first version, so there is no step to it yet.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Numbers never come again: the index below holds them as words.
CREATE TABLE namespaces (
  ns INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  vector_epoch INTEGER NOT NULL DEFAULT 0   -- grows with every change of a vector in it
) STRICT;

CREATE TABLE tags (tag INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ns INTEGER NOT NULL REFERENCES namespaces,
  key TEXT NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,                      -- JSON
  tags TEXT NOT NULL,                       -- JSON, sorted
  version INTEGER NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  expires_at REAL,
  origin TEXT NOT NULL,                     -- JSON
  text TEXT NOT NULL,                       -- the value in words
  labels TEXT NOT NULL,                     -- n<ns> k<kind> t<tag> …, which no text can be taken for
  UNIQUE (ns, key)
) STRICT;

CREATE INDEX entries_expire ON entries (expires_at) WHERE expires_at IS NOT NULL;

-- Earlier versions, the latest few of each key.
CREATE TABLE versions (
  entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  tags TEXT NOT NULL,
  updated_at REAL NOT NULL,
  expires_at REAL,
  origin TEXT NOT NULL,
  PRIMARY KEY (entry, version)
) STRICT, WITHOUT ROWID;

-- Of unit length, little-endian float32.
CREATE TABLE vectors (
  entry INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE,
  ns INTEGER NOT NULL,
  dims INTEGER NOT NULL,
  vector BLOB NOT NULL
) STRICT;

CREATE INDEX vectors_of_namespace ON vectors (ns, dims);

CREATE VIRTUAL TABLE words USING fts5 (
  text, labels, content = 'entries', content_rowid = 'id',
  tokenize = 'porter unicode61 remove_diacritics 2'
);
INSERT INTO words (words, rank) VALUES ('rank', 'bm25(1.0, 0.0)');

CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN
  INSERT INTO words (rowid, text, labels) VALUES (new.id, new.text, new.labels);
END;
CREATE TRIGGER entries_dropped AFTER DELETE ON entries BEGIN
  INSERT INTO words (words, rowid, text, labels) VALUES ('delete', old.id, old.text, old.labels);
END;
CREATE TRIGGER entries_changed AFTER UPDATE OF text, labels ON entries BEGIN
  INSERT INTO words (words, rowid, text, labels) VALUES ('delete', old.id, old.text, old.labels);
  INSERT INTO words (rowid, text, labels) VALUES (new.id, new.text, new.labels);
END;
