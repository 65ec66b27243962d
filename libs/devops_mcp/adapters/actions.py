"""Tools with an `action` argument: which arguments each action needs and takes, kept as a table and checked before the call.

The model sees one flat list of arguments, which language models fill in more reliably than a union; the table says the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, model_validator
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Takes:
    """The arguments of one action. `any_of`: at least one of these as well."""

    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.needs + self.may + self.any_of


class ByAction(BaseModel):
    """Mixin for params with a field `action`. Arguments that no action names (`target`, `limit`, …) go with all of them.

    An argument that the chosen action does not take is refused rather than ignored; null counts as not given.
    """

    actions: ClassVar[Mapping[str, Takes]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.actions:
            return
        unknown = {name for takes in cls.actions.values() for name in takes.names} - set(cls.model_fields)
        if unknown or set(get_args(cls.model_fields["action"].annotation)) != set(cls.actions):
            raise TypeError(
                f"{cls.__name__}: the table of actions does not fit the fields: {sorted(unknown) or 'action'}"
            )

    @model_validator(mode="after")
    def _check_action(self) -> Self:
        action = getattr(self, "action", None)
        takes = self.actions.get(str(action))
        if takes is None:
            return self
        given = {name for name, field in type(self).model_fields.items() if self._is_given(name, field)}
        missing = [name for name in takes.needs if name not in given]
        if missing:
            raise ValueError(f"action '{action}' needs {_and(missing)}")
        if takes.any_of and not given.intersection(takes.any_of):
            raise ValueError(f"action '{action}' needs at least one of {_and(takes.any_of)}")
        common = set(type(self).model_fields) - {
            name for other in self.actions.values() for name in other.names
        }
        stray = sorted(given - common - set(takes.names))
        if stray:
            raise ValueError(
                f"action '{action}' does not take {_and(stray)}; it takes {_and(takes.names) or 'nothing more'}"
            )
        return self

    def _is_given(self, name: str, field: FieldInfo) -> bool:
        value = getattr(self, name)
        if field.is_required():
            return True
        return name in self.model_fields_set and value is not None and value != field.get_default()


def _and(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names)
