"""Breaks tocsin on purpose while traffic runs, and then checks that nothing was lost: `python -m benchmarks.chaos`.

faults   what can be broken, the scenarios, and the plan that follows from a seed
traffic  what is published meanwhile: two applications, a change, repeats, disorder, nonsense
system   the processes, and how each fault is done to them
check    from the topics and the tables alone, by code that shares nothing with what is checked but the detectors
report   docs/chaos.md
"""
