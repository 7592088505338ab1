-- What an investigation needs: events by each of their times, and who read what of them.

-- As the indexes of the first migration: one a condition of a listing, each in the order that a listing is read in.
CREATE INDEX events_by_recorded_at ON events (tenant_id, recorded_at, leaf_index);
CREATE INDEX events_by_received_at ON events (tenant_id, received_at, leaf_index);
