"""Batches: files of comparisons, judged in the background and in spite of crashes."""
