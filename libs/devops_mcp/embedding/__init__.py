"""Texts to vectors: the protocol, the providers, and how texts are cut and counted."""
