"""Preference data: labelled pairs made from questions, reference answers and models."""
