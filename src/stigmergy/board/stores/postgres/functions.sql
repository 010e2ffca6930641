-- The functions of a board in PostgreSQL: the short cuts of shortcuts.py, in one round trip each.
-- They decide as the plain path does, and raise ST001 (declined) where they do not know.

-- The seq of a transaction's first event, less one. {offset} is above 0 on a board that was
-- imported from one with higher numbers.
CREATE OR REPLACE FUNCTION {s}.base_1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT pg_current_xact_id()::text::bigint * 1048576 + {offset}
$$;

-- Below it every event is settled: its transaction and all earlier ones have ended.
CREATE OR REPLACE FUNCTION {s}.horizon_1() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint * 1048576 + {offset}
$$;

-- Wake those who wait. Work that became ready wakes at once; the rest at most fifty times a second,
-- because every notification takes a lock that all commits share.
CREATE OR REPLACE FUNCTION {s}.notify_1(p_at_once boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
  last_ms bigint;
BEGIN
  IF NOT p_at_once THEN
    SELECT last_value INTO last_ms FROM {s}.notified;
    IF now_ms - last_ms BETWEEN 0 AND 20 THEN
      RETURN;
    END IF;
    PERFORM setval('{s}.notified', now_ms);
  END IF;
  PERFORM pg_notify('{channel}', '');
END $$;

CREATE OR REPLACE FUNCTION {s}.exchange_1(
  p_agent text,
  p_names text[], p_fences bigint[], p_holders text[], p_results text[], p_notes text[],
  p_tells boolean,
  p_capabilities text[], p_types text[], p_limit integer, p_lease_s double precision,
  p_now double precision, p_key text, p_again boolean
) RETURNS SETOF {s}.tasks LANGUAGE plpgsql
-- Tables that grow from nothing have statistics that mislead; every look here has its index.
-- The price put on other ways would make the server compile each statement: hence jit.
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  now_s double precision;
  base bigint;
  xid bigint;
  expected integer := coalesce(array_length(p_names, 1), 0);
  counted integer;
  is_ruled boolean;
  is_due boolean;
  wakes boolean;
  chosen integer[];
  head bigint;
  one {s}.tasks;
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock});
  now_s := coalesce(p_now, extract(epoch FROM clock_timestamp()));
  IF p_again THEN
    -- The answer to an earlier call was lost. What it claimed bears its key.
    RETURN QUERY SELECT * FROM {s}.tasks
      WHERE lease_until IS NOT NULL AND claim_key = p_key ORDER BY rank, place;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  -- One statement, for each costs as much to begin as what it looks up.
  SELECT
    EXISTS (SELECT 1 FROM {s}.rules WHERE gates OR due_at <= now_s)
      OR (SELECT min(lease_until) FROM {s}.tasks WHERE lease_until IS NOT NULL) <= now_s,
    (SELECT min(not_before) FROM {s}.tasks WHERE status = 'pending' AND NOT ready AND NOT blocked)
      <= now_s,
    EXISTS (SELECT 1 FROM {s}.waits WHERE needs = ANY (p_names))
  INTO is_ruled, is_due, wakes;
  IF p_limit > 0 AND is_ruled THEN
    RAISE EXCEPTION 'declined' USING ERRCODE = 'ST001';
  END IF;
  base := {s}.base_1();
  xid := (base - {offset}) >> 20;

  IF expected > 0 THEN
    IF expected = 1 THEN  -- as below, in a third of the time
      UPDATE {s}.tasks AS t SET status = 'completed', result = p_results[1], error = NULL,
        finished_at = now_s, lease_until = NULL, touched = xid
        WHERE t.task_id = p_names[1] AND t.fence = p_fences[1] AND t.claimed_by = p_holders[1]
          AND t.status IN ('claimed', 'in_progress') AND t.touched <= xid
        RETURNING t.* INTO one;
      GET DIAGNOSTICS counted = ROW_COUNT;
      IF counted = 1 THEN
        INSERT INTO {s}.events VALUES (base + 1, now_s, 'completed', one.task_id, p_holders[1],
          '{{' || p_notes[1] || '"status":"completed","attempt":' || one.attempts || '}}');
        IF p_tells THEN
          RETURN NEXT one;
        END IF;
      END IF;
    ELSIF p_tells THEN
      RETURN QUERY
        WITH given AS (
          SELECT * FROM unnest(p_names, p_fences, p_holders, p_results, p_notes)
            WITH ORDINALITY AS g (name, fence, holder, result, note, nth)
        ), done AS (
          UPDATE {s}.tasks AS t SET status = 'completed', result = g.result, error = NULL,
            finished_at = now_s, lease_until = NULL, touched = xid
          FROM given AS g
          WHERE t.task_id = g.name AND t.fence = g.fence AND t.claimed_by = g.holder
            AND t.status IN ('claimed', 'in_progress') AND t.touched <= xid
          RETURNING t.*
        ), told AS (
          INSERT INTO {s}.events SELECT base + g.nth, now_s, 'completed', d.task_id, g.holder,
            '{{' || g.note || '"status":"completed","attempt":' || d.attempts || '}}'
          FROM done AS d JOIN given AS g ON g.name = d.task_id
        )
        SELECT d.* FROM done AS d JOIN given AS g ON g.name = d.task_id ORDER BY g.nth;
      GET DIAGNOSTICS counted = ROW_COUNT;
    ELSE
      WITH given AS (
        SELECT * FROM unnest(p_names, p_fences, p_holders, p_results, p_notes)
          WITH ORDINALITY AS g (name, fence, holder, result, note, nth)
      ), done AS (
        UPDATE {s}.tasks AS t SET status = 'completed', result = g.result, error = NULL,
          finished_at = now_s, lease_until = NULL, touched = xid
        FROM given AS g
        WHERE t.task_id = g.name AND t.fence = g.fence AND t.claimed_by = g.holder
          AND t.status IN ('claimed', 'in_progress') AND t.touched <= xid
        RETURNING t.task_id, t.attempts, g.nth, g.holder, g.note
      )
      INSERT INTO {s}.events SELECT base + d.nth, now_s, 'completed', d.task_id, d.holder,
        '{{' || d.note || '"status":"completed","attempt":' || d.attempts || '}}'
      FROM done AS d;
      GET DIAGNOSTICS counted = ROW_COUNT;
    END IF;
    IF counted <> expected THEN
      RAISE EXCEPTION 'declined' USING ERRCODE = 'ST001';
    END IF;
    IF wakes THEN
      UPDATE {s}.tasks AS t SET
        waiting_on = ARRAY(SELECT w FROM unnest(t.waiting_on) AS w WHERE w <> ALL (p_names)),
        blocked = t.status = 'pending' AND NOT t.waiting_on <@ p_names,
        ready = t.status = 'pending' AND t.waiting_on <@ p_names AND t.not_before <= now_s,
        touched = greatest(t.touched, xid)
      WHERE t.task_id IN (SELECT w.task_id FROM {s}.waits AS w WHERE w.needs = ANY (p_names));
      DELETE FROM {s}.waits WHERE needs = ANY (p_names);
    END IF;
  END IF;

  IF p_limit > 0 THEN
    IF is_due THEN
      UPDATE {s}.tasks SET ready = true WHERE place = ANY (ARRAY(
        SELECT place FROM {s}.tasks WHERE status = 'pending' AND NOT ready AND NOT blocked
          AND not_before <= now_s ORDER BY not_before LIMIT 1000 FOR UPDATE SKIP LOCKED));
    END IF;
    chosen := {s}.lanes_1(p_capabilities, p_types);
    IF p_limit = 1 AND cardinality(chosen) = 1 THEN  -- as below, in a third of the time
      SELECT t.place INTO head FROM {s}.tasks AS t
        WHERE t.ready AND t.lane = chosen[1] AND t.not_before <= now_s AND t.touched <= xid
        ORDER BY t.rank, t.place LIMIT 1 FOR UPDATE SKIP LOCKED;
      IF FOUND THEN
        UPDATE {s}.tasks AS t SET status = 'claimed', claimed_by = p_agent, claimed_at = now_s,
          lease_until = now_s + p_lease_s, attempts = t.attempts + 1, fence = t.fence + 1,
          progress = NULL, ready = false, claim_key = p_key, touched = xid
          WHERE t.place = head RETURNING t.* INTO one;
        INSERT INTO {s}.events VALUES (base + expected + 1, now_s, 'claimed', one.task_id, p_agent,
          '{{"attempt":' || one.attempts || ',"fence":' || one.fence || '}}');
        RETURN NEXT one;
      END IF;
    ELSE
      RETURN QUERY
        WITH picked AS MATERIALIZED (
          SELECT best.place FROM unnest(chosen) AS l (lane) CROSS JOIN LATERAL (
            SELECT t.place, t.rank FROM {s}.tasks AS t
            -- A task that a later transaction touched would have its claim told before that.
            WHERE t.ready AND t.lane = l.lane AND t.not_before <= now_s AND t.touched <= xid
            ORDER BY t.rank, t.place LIMIT p_limit FOR UPDATE SKIP LOCKED
          ) AS best ORDER BY best.rank, best.place LIMIT p_limit
        ), taken AS (
          UPDATE {s}.tasks AS t SET status = 'claimed', claimed_by = p_agent, claimed_at = now_s,
            lease_until = now_s + p_lease_s, attempts = t.attempts + 1, fence = t.fence + 1,
            progress = NULL, ready = false, claim_key = p_key, touched = xid
          FROM picked WHERE t.place = picked.place
          RETURNING t.*
        ), told AS (
          INSERT INTO {s}.events
          SELECT base + expected + row_number() OVER (ORDER BY rank, place), now_s, 'claimed',
            task_id, p_agent, '{{"attempt":' || attempts || ',"fence":' || fence || '}}'
          FROM taken
        )
        SELECT * FROM taken ORDER BY rank, place;
    END IF;
  END IF;
  PERFORM {s}.notify_1(wakes);
END $$;

-- The lanes whose tasks such an agent may take. Of many lanes, those that have something ready.
CREATE OR REPLACE FUNCTION {s}.lanes_1(p_capabilities text[], p_types text[]) RETURNS integer[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
  accepted integer[];
BEGIN
  accepted := ARRAY(
    SELECT lane FROM {s}.lanes
    WHERE (p_types IS NULL OR task_type = ANY (p_types)) AND requires <@ p_capabilities);
  IF cardinality(accepted) <= 64 THEN
    RETURN accepted;
  END IF;
  RETURN ARRAY(
    WITH RECURSIVE filled AS (
      SELECT min(lane) AS lane FROM {s}.tasks WHERE ready
      UNION ALL
      SELECT (SELECT min(t.lane) FROM {s}.tasks AS t WHERE t.ready AND t.lane > filled.lane)
      FROM filled WHERE filled.lane IS NOT NULL
    ) SELECT lane FROM filled WHERE lane = ANY (accepted));
END $$;

CREATE OR REPLACE FUNCTION {s}.extend_1(
  p_name text, p_fence bigint, p_holder text, p_lease_s double precision, p_start boolean,
  p_progress text, p_now double precision
) RETURNS SETOF {s}.tasks LANGUAGE plpgsql AS $$
DECLARE
  now_s double precision;
  base bigint := 0;
  began boolean;
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock});
  now_s := coalesce(p_now, extract(epoch FROM clock_timestamp()));
  SELECT status = 'claimed' INTO began FROM {s}.tasks
    WHERE task_id = p_name AND fence = p_fence AND claimed_by = p_holder
      AND lease_until IS NOT NULL FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'declined' USING ERRCODE = 'ST001';
  END IF;
  began := began AND p_start;
  IF began OR p_progress IS NOT NULL THEN
    base := {s}.base_1();
  END IF;
  RETURN QUERY UPDATE {s}.tasks AS t SET
    lease_until = coalesce(now_s + p_lease_s, t.lease_until),
    status = CASE WHEN p_start THEN 'in_progress' ELSE t.status END,
    progress = coalesce(p_progress, t.progress),
    touched = greatest(t.touched, (base - {offset}) >> 20)
  WHERE t.task_id = p_name RETURNING t.*;
  IF began THEN
    INSERT INTO {s}.events VALUES (base + 1, now_s, 'started', p_name, p_holder, '{{}}');
  END IF;
  IF p_progress IS NOT NULL THEN
    INSERT INTO {s}.events VALUES (base + 2, now_s, 'reported', p_name, p_holder, p_progress);
  END IF;
  IF base > 0 THEN
    PERFORM {s}.notify_1(false);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {s}.post_1(
  p_ids text[], p_types text[], p_descriptions text[], p_payloads text[], p_requires text[],
  p_parents text[], p_limit_keys text[], p_priorities integer[], p_max_attempts bigint[],
  p_not_before double precision[], p_created_at double precision[], p_aging double precision[],
  p_entries text[], p_now double precision
) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  now_s double precision;
  base bigint;
  counted integer;
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock});
  now_s := coalesce(p_now, extract(epoch FROM clock_timestamp()));
  IF EXISTS (SELECT 1 FROM {s}.rules WHERE name = 'fair') THEN
    RAISE EXCEPTION 'declined' USING ERRCODE = 'ST001';
  END IF;
  base := {s}.base_1();
  INSERT INTO {s}.lanes (task_type, requires, limit_key)
    SELECT DISTINCT g.kind, g.requires::text[], coalesce(g.key, '')
    FROM unnest(p_types, p_requires, p_limit_keys) AS g (kind, requires, key)
    WHERE NOT EXISTS (
      SELECT 1 FROM {s}.lanes AS l WHERE l.task_type = g.kind
        AND l.requires = g.requires::text[] AND l.limit_key = coalesce(g.key, ''))
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING;
  WITH given AS (
    SELECT * FROM unnest(
      p_ids, p_types, p_descriptions, p_payloads, p_requires, p_parents, p_limit_keys,
      p_priorities, p_max_attempts, p_not_before, p_created_at, p_aging, p_entries
    ) WITH ORDINALITY AS g (
      id, kind, description, payload, requires, parent, key, priority, most, not_before,
      created_at, aging, entry, nth)
  ), put AS (
    INSERT INTO {s}.tasks (
      task_id, lane, rank, ready, blocked, touched, task_type, description, payload, requires,
      depends_on, waiting_on, parent_id, limit_key, priority, lag_s, status, attempts,
      max_attempts, not_before, created_at, fence)
    SELECT g.id, l.lane, coalesce(nullif(g.created_at, 0), now_s) + g.aging,
      g.not_before <= now_s, false, (base - {offset}) >> 20, g.kind, g.description, g.payload,
      g.requires::text[], '{{}}', '{{}}', g.parent, g.key, g.priority, 0, 'pending', 0, g.most,
      g.not_before, coalesce(nullif(g.created_at, 0), now_s), 0
    FROM given AS g JOIN {s}.lanes AS l ON l.task_type = g.kind
      AND l.requires = g.requires::text[] AND l.limit_key = coalesce(g.key, '')
    ORDER BY g.nth
    ON CONFLICT (task_id) DO NOTHING
    RETURNING task_id
  )
  INSERT INTO {s}.events SELECT base + g.nth, now_s, 'posted', g.id, '', g.entry
  FROM given AS g JOIN put ON put.task_id = g.id;
  GET DIAGNOSTICS counted = ROW_COUNT;
  IF counted <> cardinality(p_ids) THEN
    RAISE EXCEPTION 'declined' USING ERRCODE = 'ST001';
  END IF;
  PERFORM {s}.notify_1(true);
  RETURN now_s;
END $$;
