"""Logs, traces, metrics and health of a service."""
