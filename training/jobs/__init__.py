"""What every offline job shares: configuration, the folder it resumes from, its plan, and studies of many runs."""
