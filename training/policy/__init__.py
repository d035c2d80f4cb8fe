"""Measuring policies: a model's answers beside references, objects, a judge, and its former self."""
