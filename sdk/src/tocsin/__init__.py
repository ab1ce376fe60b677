"""Publish interactions with a language model to tocsin: one call, which never blocks and never raises.

    import tocsin

    client = tocsin.Client("support-bot", url="http://127.0.0.1:8321")
    interaction_id = client.publish(prompt="How do I reset it?", response="Hold the button.", session_id="s-17")
    client.feedback(interaction_id, rating=1.0)

What was published, kept waiting or dropped is counted in `client.stats`.
"""

from tocsin.client import Client
from tocsin.contracts import Feedback, Interaction, Model, PromptTemplate, Turn, Usage
from tocsin.transports.courier import Stats

__all__ = ["Client", "Feedback", "Interaction", "Model", "PromptTemplate", "Stats", "Turn", "Usage"]
