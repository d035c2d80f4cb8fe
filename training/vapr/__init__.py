"""Hard negatives after VaPR: references edited to hold one error, checked, and balanced against blind shortcuts."""
