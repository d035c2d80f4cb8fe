"""Engines: whatever turns a rendered prompt into a completion with label log-probabilities."""
