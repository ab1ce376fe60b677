-- Groups of people beside the rest; swaps of groups in texts; what judges and people say of answers.

CREATE TABLE fairness
(
    application LowCardinality(String),
    began_at DateTime64(3, 'UTC'),
    compared_at DateTime64(3, 'UTC'),
    field LowCardinality(String),
    value String,
    signal LowCardinality(String),
    measure LowCardinality(String),
    units UInt64,
    rest_units UInt64,
    pairs UInt64,
    mean Float64,
    rest_mean Float64,
    gap Float64,
    low Float64,
    high Float64,
    paged UInt8
)
ENGINE = ReplacingMergeTree(compared_at)
PARTITION BY toYYYYMM(began_at)
ORDER BY (application, began_at, field, value, signal)
TTL toDateTime(began_at) + INTERVAL 400 DAY
SETTINGS fsync_after_insert = 1;

-- A text that was scored again with another group in it: how much each signal moved.
CREATE TABLE swaps
(
    application LowCardinality(String),
    interaction_id String,
    side LowCardinality(String),
    family LowCardinality(String),
    before LowCardinality(String),
    after LowCardinality(String),
    scored_at DateTime64(3, 'UTC'),
    gaps Map(LowCardinality(String), Float64),
    heads LowCardinality(String)
)
ENGINE = ReplacingMergeTree(scored_at)
PARTITION BY toYYYYMM(scored_at)
ORDER BY (application, interaction_id, side, family, before, after)
TTL toDateTime(scored_at) + INTERVAL 90 DAY
SETTINGS fsync_after_insert = 1;

-- What the judge says of an answer: planned with its calls reserved before it is asked, so that no crash spends twice.
-- Application '' is the anchor set, whose answers have an expected score.
CREATE TABLE verdicts
(
    verdict_id String,
    application LowCardinality(String),
    interaction_id String,
    evaluation LowCardinality(String),
    evaluation_sha LowCardinality(String),
    judge_model LowCardinality(String),
    state LowCardinality(String),
    planned_at DateTime64(3, 'UTC'),
    calls UInt32,
    first String,
    second String,
    score Float64,
    agrees UInt8,
    expected Nullable(Float64),
    reason String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (application, verdict_id)
TTL toDateTime(planned_at) + INTERVAL 400 DAY
SETTINGS fsync_after_insert = 1;

-- How good an application's answers are, by people's ratings or by a judge: a mean of all of them with its interval.
CREATE TABLE estimates
(
    application LowCardinality(String),
    subject LowCardinality(String),
    estimated_at DateTime64(3, 'UTC'),
    since DateTime64(3, 'UTC'),
    mean Float64,
    low Float64,
    high Float64,
    labels UInt64,
    unlabelled UInt64,
    weight Float64,
    plain_low Float64,
    plain_high Float64
)
ENGINE = ReplacingMergeTree(estimated_at)
ORDER BY (application, subject, toStartOfHour(estimated_at))
TTL toDateTime(estimated_at) + INTERVAL 400 DAY
SETTINGS fsync_after_insert = 1;
