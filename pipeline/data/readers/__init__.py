"""Readers: one module for each family of file formats."""
