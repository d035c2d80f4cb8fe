"""Measuring judges: what is judged, by whom, and what the verdicts say about the judge."""
