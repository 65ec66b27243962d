"""The suite over HTTP for integrators, and the doors that webhooks come in by."""
