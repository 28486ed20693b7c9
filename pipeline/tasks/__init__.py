"""What is particular to each task: columns, targets, scores."""
