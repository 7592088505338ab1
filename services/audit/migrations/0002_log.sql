-- The Merkle log over each tenant's events: tree state, full tiles, signed checkpoints. All of it follows from the events' bytes but for
-- the checkpoints. The release before appends events without knowing of it: the tree then lags behind the log, and the
-- next append of this release catches up.

-- How many of the log's events are in its tree, and the roots of that tree's perfect subtrees, largest first: one for each set bit.
ALTER TABLE logs
  ADD COLUMN tree_size bigint NOT NULL DEFAULT 0,
  ADD COLUMN tree_edge bytea  NOT NULL DEFAULT '',
  ADD CONSTRAINT logs_tree_within_log CHECK (tree_size BETWEEN 0 AND size),
  ADD CONSTRAINT logs_tree_edge_fits CHECK (octet_length(tree_edge) = 32 * bit_count(tree_size::bit(64)));

-- Full tiles (C2SP tlog-tiles): 256 hashes each, of leaves at level 0, of the tiles one level below above that. Partial ones are
-- computed. `root` is the tile's one hash in the tile above it, so that a partial tile above is read and not hashed together.
CREATE TABLE tiles (
  tenant_id  text     NOT NULL,
  level      smallint NOT NULL,
  tile_index bigint   NOT NULL,
  hashes     bytea    NOT NULL,
  root       bytea    NOT NULL,
  PRIMARY KEY (tenant_id, level, tile_index),
  CONSTRAINT tiles_level_in_range CHECK (level BETWEEN 0 AND 5),
  CONSTRAINT tiles_index_from_zero CHECK (tile_index >= 0),
  CONSTRAINT tiles_full CHECK (octet_length(hashes) = 8192),
  CONSTRAINT tiles_root_is_sha256 CHECK (octet_length(root) = 32)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL; -- Hashes do not compress.

-- Every checkpoint that was signed, for ever: what an event's sealed_at is read from.
CREATE TABLE checkpoints (
  tenant_id text        NOT NULL,
  tree_size bigint      NOT NULL,
  -- A C2SP signed note with a tlog-checkpoint body.
  note      text        NOT NULL,
  -- When it was stored, by the signer's clock, and never before the checkpoint that it follows.
  sealed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, tree_size),
  CONSTRAINT checkpoints_size_from_one CHECK (tree_size >= 1),
  CONSTRAINT checkpoints_note_length CHECK (char_length(note) BETWEEN 1 AND 8192)
);

-- Every key that has signed a checkpoint of the log, as a C2SP verifier key.
CREATE TABLE verifier_keys (
  tenant_id   text             NOT NULL,
  vkey        text COLLATE "C" NOT NULL,
  active_from timestamptz      NOT NULL,
  PRIMARY KEY (tenant_id, vkey),
  CONSTRAINT verifier_keys_length CHECK (char_length(vkey) BETWEEN 1 AND 512)
);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tiles', 'checkpoints', 'verifier_keys'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY of_tenant ON %I TO audit_app'
      ' USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))'
      ' WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))',
      name
    );
  END LOOP;
END
$$;

GRANT UPDATE (tree_size, tree_edge) ON logs TO audit_app;
GRANT SELECT, INSERT ON tiles TO audit_app;
GRANT SELECT ON checkpoints, verifier_keys TO audit_app;

-- The signer works for every tenant. Of events it reads what is hashed; checkpoints and keys it alone can add, and nobody can change.
CREATE POLICY of_all_tenants ON logs FOR SELECT TO audit_signer USING (true);
CREATE POLICY of_all_tenants ON events FOR SELECT TO audit_signer USING (true);
CREATE POLICY of_all_tenants ON tiles FOR SELECT TO audit_signer USING (true);
CREATE POLICY of_all_tenants ON checkpoints TO audit_signer USING (true) WITH CHECK (true);
CREATE POLICY of_all_tenants ON verifier_keys TO audit_signer USING (true) WITH CHECK (true);
GRANT SELECT ON logs, tiles TO audit_signer;
GRANT SELECT (tenant_id, leaf_index, bytes) ON events TO audit_signer;
GRANT SELECT, INSERT ON checkpoints, verifier_keys TO audit_signer;
