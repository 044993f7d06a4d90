"""Classifiers: stem, core, head."""
