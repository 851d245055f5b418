"""Measurements of time and memory: cases, what measures one, the run over all, and what shows the results."""
