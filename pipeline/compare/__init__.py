"""What several runs show side by side."""
