"""What a recipe will do and cost, and which of its settings are unusual."""
