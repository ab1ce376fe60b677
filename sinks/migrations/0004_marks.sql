-- What a worker asks before it writes, also when the tables are large.

-- Two workers that overlap may write ranges that begin alike: both are kept, and the longer one counts.
ALTER TABLE ledger
    ADD COLUMN IF NOT EXISTS last_offset UInt64 AFTER next_offset,
    MODIFY ORDER BY (topic, source_partition, first_offset, last_offset);

-- Ids that begin with the time, as ours do: whether new ones are stored needs no look at old rows.
ALTER TABLE interactions ADD INDEX IF NOT EXISTS by_id_range interaction_id TYPE minmax GRANULARITY 1;
