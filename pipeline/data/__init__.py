"""Data: from a source to encoded, bucketed rows on disk."""
