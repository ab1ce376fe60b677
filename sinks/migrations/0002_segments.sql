-- Segments: parts of an application's traffic that are watched by themselves, named `field=value`; '' is all of it.

ALTER TABLE evidence
    ADD COLUMN IF NOT EXISTS segment LowCardinality(String) AFTER application,
    MODIFY ORDER BY (application, stream, occurred_at, segment);

ALTER TABLE detector_states
    ADD COLUMN IF NOT EXISTS segment String AFTER application,
    MODIFY ORDER BY (signals_partition, application, segment);

ALTER TABLE pages ADD COLUMN IF NOT EXISTS segment LowCardinality(String) AFTER application;

ALTER TABLE references ADD COLUMN IF NOT EXISTS segment LowCardinality(String) AFTER application;
