"""Training: `fit` tells the story, `update` does the arithmetic."""
