"""Programs of other systems that tests marked `systems` run against."""

import shutil

import pytest


def debian_program(program: str, package: str) -> str:
    """The path of a program from Debian's package of that name; fails the test and says what to install when it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(
            f"{program} is missing: apt-get install --no-install-recommends {package}"
            " ('make test-systems' as root does it)"
        )
    return found
