"""Our own metrics, and what to do about each. Served at `/metrics` by the process that runs the gateway."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BATCHES = Counter("tocsin_batches", "Batches acknowledged; flat while lag grows: look at the log.", ["topic"])
RETRIES = Counter("tocsin_retries", "Tries that failed, an engine is away; rising: look at that engine.", ["error"])
STORED = Counter("tocsin_stored", "Messages stored.", ["topic"])
DEAD_LETTERS = Counter(
    "tocsin_dead_letters",
    "Messages that can never be read; rising: a producer publishes nonsense.",
    ["topic", "reason"],
)
DUPLICATES = Counter("tocsin_duplicates", "Messages stored before; harmless, many: a producer repeats.", ["topic"])
SCORING_SECONDS = Histogram("tocsin_scoring_seconds", "Time to score a batch; high: more or faster scoring workers.")
PAGES = Counter("tocsin_pages", "Pages raised by the detectors.", ["application"])
NOTIFICATIONS = Counter(
    "tocsin_notifications", "Tries to tell people, by outcome; failed: check the target.", ["outcome"]
)
OUTBOX = Gauge("tocsin_outbox", "Notifications not delivered yet; above zero for long: people are not told.")
