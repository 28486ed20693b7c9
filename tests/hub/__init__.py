"""Tests of what goes to the Hub and comes from it."""
