"""Frozen models by subject, the error tree, ids and pages. Imports nothing else of ours."""
