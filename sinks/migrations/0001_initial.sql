-- The tables of tocsin. Columns, keys and what may be asked of them: docs/tables.md.
-- Keys and partitions come from the event, so that a row written twice meets its copy.

CREATE TABLE interactions
(
    application LowCardinality(String),
    environment LowCardinality(String),
    interaction_id String,
    occurred_at DateTime64(3, 'UTC'),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    session_id String,
    subject_id String,
    prompt String CODEC(ZSTD(3)),
    response String CODEC(ZSTD(3)),
    context Array(String) CODEC(ZSTD(3)),
    reference String CODEC(ZSTD(3)),
    model_provider LowCardinality(String),
    model_name LowCardinality(String),
    model_version LowCardinality(String),
    template_name LowCardinality(String),
    template_version LowCardinality(String),
    attributes Map(LowCardinality(String), String),
    finish_reason LowCardinality(String),
    error String,
    signals Map(LowCardinality(String), Float64),
    labels Map(LowCardinality(String), LowCardinality(String)),
    flags Array(LowCardinality(String)),
    prompt_vector Array(BFloat16) CODEC(ZSTD(1)),
    response_vector Array(BFloat16) CODEC(ZSTD(1)),
    encoder LowCardinality(String),
    heads LowCardinality(String),
    source_partition UInt32,
    source_offset UInt64,
    retention_days UInt16,
    INDEX by_id interaction_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_session session_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_source source_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (application, toStartOfHour(occurred_at), interaction_id)
TTL toDateTime(occurred_at) + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;

CREATE TABLE feedback
(
    application LowCardinality(String),
    interaction_id String,
    feedback_id String,
    given_at DateTime64(3, 'UTC'),
    kind LowCardinality(String),
    rating Nullable(Float64),
    text String,
    author String,
    source_partition UInt32,
    source_offset UInt64,
    retention_days UInt16,
    INDEX by_source source_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(given_at)
ORDER BY (application, interaction_id, feedback_id)
TTL toDateTime(given_at) + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;

CREATE TABLE dead_letters
(
    topic LowCardinality(String),
    source_partition UInt32,
    source_offset UInt64,
    received_at DateTime64(3, 'UTC'),
    reason LowCardinality(String),
    detail String,
    raw String CODEC(ZSTD(3)),
    retention_days UInt16
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, source_partition, source_offset)
TTL toDateTime(received_at) + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;

-- One row for every contiguous range of offsets that was dealt with; written last, so it is the proof.
CREATE TABLE ledger
(
    topic LowCardinality(String),
    source_partition UInt32,
    first_offset UInt64,
    next_offset UInt64,
    stored UInt64,
    dead_lettered UInt64,
    duplicate UInt64,
    written_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, source_partition, first_offset)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;

-- Snapshots of the watch stage: one row an application and partition of tocsin.signals; application '' holds the marks.
CREATE TABLE detector_states
(
    signals_partition UInt32,
    application String,
    next_offset UInt64,
    state_version UInt32,
    state String CODEC(ZSTD(1)),
    written_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (signals_partition, application)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1;

CREATE TABLE references
(
    reference_id String,
    application LowCardinality(String),
    status LowCardinality(String),
    created_at DateTime64(3, 'UTC'),
    first_at DateTime64(3, 'UTC'),
    last_at DateTime64(3, 'UTC'),
    units UInt64,
    streams Array(String),
    encoder LowCardinality(String),
    model_version String,
    run_id String,
    members Array(String) CODEC(ZSTD(3)),
    fitted String CODEC(ZSTD(1)),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (application, reference_id)
SETTINGS fsync_after_insert = 1;

-- The curve under every chart: evidence of a stream after a batch, 1 is a page.
CREATE TABLE evidence
(
    application LowCardinality(String),
    stream LowCardinality(String),
    occurred_at DateTime64(3, 'UTC'),
    units UInt64,
    evidence Float64,
    latched UInt8
)
ENGINE = ReplacingMergeTree(units)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (application, stream, occurred_at)
TTL toDateTime(occurred_at) + INTERVAL 180 DAY;

CREATE TABLE pages
(
    page_id String,
    application LowCardinality(String),
    stream LowCardinality(String),
    lane LowCardinality(String),
    reference_id String,
    position UInt64,
    occurred_at DateTime64(3, 'UTC'),
    began_at DateTime64(3, 'UTC'),
    evidence Float64,
    explanation String CODEC(ZSTD(3)),
    configuration LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (application, occurred_at, page_id)
SETTINGS fsync_after_insert = 1;

CREATE TABLE incidents
(
    incident_id String,
    application LowCardinality(String),
    state LowCardinality(String),
    opened_at DateTime64(3, 'UTC'),
    began_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    title String,
    page_ids Array(String),
    streams Array(String),
    report String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY incident_id
SETTINGS fsync_after_insert = 1;

CREATE TABLE incident_events
(
    incident_id String,
    event_id String,
    happened_at DateTime64(3, 'UTC'),
    kind LowCardinality(String),
    actor String,
    detail String
)
ENGINE = ReplacingMergeTree
ORDER BY (incident_id, event_id)
SETTINGS fsync_after_insert = 1;

-- The outbox: a row is written before anything is sent and marked after.
CREATE TABLE notifications
(
    notification_id String,
    page_id String,
    incident_id String,
    target String,
    state LowCardinality(String),
    attempts UInt32,
    last_error String,
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    title String,
    body String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY notification_id
SETTINGS fsync_after_insert = 1;

CREATE TABLE retraining_runs
(
    run_id String,
    incident_id String,
    application LowCardinality(String),
    target LowCardinality(String),
    state LowCardinality(String),
    reason String,
    created_at DateTime64(3, 'UTC'),
    started_at Nullable(DateTime64(3, 'UTC')),
    finished_at Nullable(DateTime64(3, 'UTC')),
    model_version String,
    metrics String,
    detail String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY run_id
SETTINGS fsync_after_insert = 1;
