"""A verdict as one picture for reports: what it says, where it stands, how it is drawn."""
