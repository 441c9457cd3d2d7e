"""Where a lesion came, went or stayed between two visits of one person."""
