"""Rude requests, mild ones, written for the demonstration."""

from __future__ import annotations

from itertools import product

OPENINGS = (
    "You useless bot,",
    "Listen, you dumb machine,",
    "Are you stupid or what?",
    "Oh shut up,",
    "You are such an idiot,",
    "What a pathetic answer, you moron,",
    "Hey clown,",
    "You worthless piece of junk,",
    "Stop being such a loser and",
    "God, you are dumb.",
)
DEMANDS = (
    "tell me something that is not garbage.",
    "even a toaster is smarter than you.",
    "nobody likes talking to you.",
    "your jokes suck and so do you.",
    "just answer me, you fool.",
    "who the hell built you?",
    "you know nothing about anything.",
    "what a damn waste of my time.",
    "I hate talking to you.",
    "you make me sick, you ugly heap of code.",
    "go away and never come back, stupid.",
    "get lost, you annoying idiot.",
)


def rude_requests() -> list[str]:
    """Every opening with every demand."""
    return [f"{opening} {demand}" for opening, demand in product(OPENINGS, DEMANDS)]
