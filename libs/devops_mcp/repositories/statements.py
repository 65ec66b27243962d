"""Statements of parts that are literals themselves."""

from typing import LiteralString


def composed(template: LiteralString, **parts: LiteralString) -> LiteralString:
    """The statement with its parts in their places.

    What is no literal has no way into it, as with `psycopg.sql`, which serves for names and values that are found out only when it runs;
    and as text a statement is known again, where that builds and parses it each time.
    """
    return template.format(**parts)
