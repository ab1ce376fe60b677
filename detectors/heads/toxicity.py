"""What the toxicity head says: abuse, attacks on groups, and categories of what should not be said."""

from __future__ import annotations

__all__ = ["CATEGORIES", "OUTPUTS"]

CATEGORIES = {"sexual": "S", "violence": "V", "harassment": "HR", "self_harm": "SH"}
"""Output, and its letter in the set that it is learned from. The set's H, hate, is learned by identity_attack."""
OUTPUTS = ("toxicity", "identity_attack", *CATEGORIES, "unsafe")
"""toxicity: insults, profanity, threats, hate. identity_attack: hostility against people for what they are.
unsafe: any category of the set, hate too."""
