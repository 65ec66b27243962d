"""What validation by pydantic finds wrong, in our words."""

from collections.abc import Iterator
from itertools import islice

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from devops_mcp.models.errors import InvalidInput, Violation

TOO_MANY = 10_000
"""Faults: to name the first of so many takes longer than it took to find them all."""
_LONGEST_PATH = 300


def refused(error: ValidationError, within: str = "", *, most: int = 100) -> InvalidInput:
    """The error for the caller; it names up to `most` faults, by their paths in what is called `within`."""
    if (count := error.error_count()) > TOO_MANY:
        return InvalidInput(
            f"{within or 'input'}: {count} faults; correct the kind of fault there is in one of them first"
        )
    named = islice(faults(error, within), most)
    violations = tuple(Violation(where[:_LONGEST_PATH] or "input", problem) for where, problem in named)
    return InvalidInput("; ".join(f"{v.where}: {v.problem}" for v in violations), violations)


def faults(error: ValidationError, within: str = "") -> Iterator[tuple[str, str]]:
    """Each fault: its dotted path, and what is wrong there. Neither repeats a value or names a class."""
    for fault in details_of(error):
        yield ".".join(filter(None, (within, *map(str, fault["loc"])))), problem_of(fault)


def details_of(error: ValidationError) -> list[ErrorDetails]:
    """The faults as pydantic tells them, without what was given; where there are too many, how many there are."""
    count = error.error_count()
    if count <= TOO_MANY:
        return error.errors(include_url=False, include_input=False, include_context=False)
    return [ErrorDetails(type="too_many_faults", loc=(), msg=f"has {count} faults", input=None)]


def problem_of(fault: ErrorDetails) -> str:
    """What is wrong, without the name of a class or of an exception."""
    if fault["type"] == "model_type":
        return "Input should be an object"
    if fault["type"] == "extra_forbidden":
        return "is not known here"
    return fault["msg"].removeprefix("Value error, ")
