-- Which dead letters were published again, and as which message of their topic.

CREATE TABLE dead_letter_replays
(
    topic LowCardinality(String),
    source_partition UInt32,
    source_offset UInt64,
    replayed_at DateTime64(3, 'UTC'),
    fixed UInt8,
    target_partition UInt32,
    target_offset UInt64,
    retention_days UInt16
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, source_partition, source_offset, replayed_at)
TTL toDateTime(replayed_at) + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;
