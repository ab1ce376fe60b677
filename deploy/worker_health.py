"""Exit 0 if a consumer group has a member that serves it: `python deploy/worker_health.py tocsin-score`.

A worker whose loop hangs is put out of its group by the broker, so this sees more than whether the process lives.
"""

from __future__ import annotations

import os
import sys

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

TIMEOUT_MS = 5_000


def is_served(bootstrap: str, group: str) -> bool:
    """Whether the group is stable and not empty."""
    admin = KafkaAdminClient(
        bootstrap_servers=bootstrap.split(","), request_timeout_ms=TIMEOUT_MS, bootstrap_timeout_ms=TIMEOUT_MS
    )
    try:
        described = admin.describe_groups([group])[group]
        return bool(described["members"]) and described["group_state"] == "Stable"
    finally:
        admin.close()


if __name__ == "__main__":
    try:
        served = is_served(os.environ["TOCSIN_BROKER__BOOTSTRAP"], sys.argv[1])
    except KafkaError as error:
        sys.exit(f"no answer from the broker: {type(error).__name__}")
    sys.exit(0 if served else f"nobody serves {sys.argv[1]}")
