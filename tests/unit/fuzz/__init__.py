"""Readers of files, given damaged and hostile ones."""
