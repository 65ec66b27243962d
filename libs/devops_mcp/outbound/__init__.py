"""Calls to the world outside: which addresses may be reached, decided where the connection is made."""
