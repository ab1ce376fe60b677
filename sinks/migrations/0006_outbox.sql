-- One message tells of several pages: whom each page is to be told to, and which pages a message tells of.

CREATE TABLE outbox
(
    target String,
    page_id String,
    incident_id String,
    page String,
    added_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (target, page_id)
SETTINGS fsync_after_insert = 1;

-- a message of a former version tells of one page, and has it in `page_id`
ALTER TABLE notifications ADD COLUMN IF NOT EXISTS page_ids Array(String) DEFAULT [page_id] AFTER page_id;
