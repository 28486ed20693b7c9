"""Compares several runs in one table."""
