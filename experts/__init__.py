"""Vision experts: detectors that find objects, and what their findings say about a claim. No HTTP, no training."""
