"""Labelling comparisons with a judge, and making preference rows of its verdicts."""
