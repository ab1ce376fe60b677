"""Our own metrics, and what to do about each. Served at `/metrics` by every process that has a port."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BATCHES = Counter("tocsin_batches", "Batches acknowledged; flat while lag grows: look at the log.", ["topic"])
RETRIES = Counter("tocsin_retries", "Tries that failed, an engine is away; rising: look at that engine.", ["error"])
LAG = Gauge(
    "tocsin_lag",
    "Messages of a topic that its stage has not dealt with; rising: more workers, up to a topic's partitions.",
    ["topic"],
)
STORED = Counter("tocsin_stored", "Messages stored.", ["topic"])
DEAD_LETTERS = Counter(
    "tocsin_dead_letters",
    "Messages that can never be read; rising: a producer publishes nonsense.",
    ["topic", "reason"],
)
DUPLICATES = Counter("tocsin_duplicates", "Messages stored before; harmless, many: a producer repeats.", ["topic"])
LEDGER = Gauge(
    "tocsin_ledger",
    "Messages by topic, partition and fate (produced, stored, dead_lettered, duplicate, waiting, lost), as the audit "
    "found them, at most 30 s ago; lost above zero: a defect, keep the logs.",
    ["topic", "partition", "fate"],
)
SCORING_SECONDS = Histogram("tocsin_scoring_seconds", "Time to score a batch; high: more or faster scoring workers.")
LATE = Counter(
    "tocsin_late",
    "Interactions more than an hour older than one before them: they bring no page budget.",
    ["application"],
)
PAGES = Counter("tocsin_pages", "Pages raised by the detectors.", ["application"])
NOTIFICATIONS = Counter(
    "tocsin_notifications", "Tries to tell people, by outcome; failed: check the target.", ["outcome"]
)
OUTBOX = Gauge("tocsin_outbox", "Notifications not delivered yet; above zero for long: people are not told.")
SIGNAL_FAILURES = Counter(
    "tocsin_signal_failures",
    "Batches that a signal of others gave no numbers for; rising: look at that scorer or package.",
    ["signal", "error"],
)
VERDICTS = Counter(
    "tocsin_verdicts", "What came of asking the judge; unusable or unavailable: look at the judge.", ["outcome"]
)
