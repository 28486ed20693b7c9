"""What several runs show side by side, in one table."""
