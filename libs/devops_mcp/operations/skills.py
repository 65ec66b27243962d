"""Skills: instructions for agents, each a folder with a SKILL.md and what belongs to it, served as `skill://` resources (SEP-2640)."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

import yaml

from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import NotFound

SCHEME = "skill://"
MANIFEST = "SKILL.md"
_FENCE = "---\n"


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One file of a skill. `path` is relative to the folder of skills."""

    path: str
    text: str

    @property
    def uri(self) -> str:
        return SCHEME + self.path

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return len(self.text.encode())

    @property
    def digest(self) -> str:
        return f"sha256:{sha256(self.text.encode()).hexdigest()}"


@dataclass(frozen=True)
class Skill:
    """A skill's files, its manifest first."""

    files: tuple[SkillFile, ...]

    @property
    def uri(self) -> str:
        return self.files[0].uri

    @cached_property
    def frontmatter(self) -> JsonObject:
        """What the manifest says of itself: at least `name` and `description`."""
        _, head, _ = self.files[0].text.split(_FENCE, 2)
        read: JsonObject = yaml.safe_load(head)
        return read


@dataclass(frozen=True, slots=True)
class Entry:
    """A child of a directory; `file` is None for a directory."""

    uri: str
    file: SkillFile | None


class SkillLibrary:
    """The skills that come with the platform. They are for everybody who may connect."""

    def __init__(self, root: Traversable | None = None) -> None:
        folder = root or files("devops_mcp") / "skills"
        self.skills = tuple(
            _read_skill(child) for child in sorted(folder.iterdir(), key=lambda c: c.name) if child.is_dir()
        )
        self._files = {file.uri: file for skill in self.skills for file in skill.files}

    def skill(self, uri: str) -> Skill:
        """By its manifest's address; raises `NotFound`."""
        for skill in self.skills:
            if skill.uri == uri:
                return skill
        raise NotFound(f"there is no skill {uri}")

    def file(self, uri: str) -> SkillFile:
        """Raises `NotFound`."""
        found = self._files.get(uri)
        if found is None:
            raise NotFound(f"there is no resource {uri}")
        return found

    def directory(self, uri: str) -> tuple[Entry, ...]:
        """The direct children of a directory, in order; raises `NotFound` for what is none."""
        inside = uri.rstrip("/") + "/"
        children: dict[str, Entry] = {}
        for file in self._files.values():
            if file.uri.startswith(inside):
                name, _, deeper = file.uri.removeprefix(inside).partition("/")
                child = inside + name
                children[child] = Entry(child, None if deeper else file)
        if not children:
            raise NotFound(f"{uri} is not a directory of a skill")
        return tuple(children[name] for name in sorted(children))


def _read_skill(folder: Traversable) -> Skill:
    found = sorted(_walk(folder, folder.name), key=lambda f: (not f.path.endswith(f"/{MANIFEST}"), f.path))
    skill = Skill(tuple(found))
    if skill.frontmatter.get("name") != folder.name or not skill.frontmatter.get("description"):
        raise ValueError(
            f"the skill in {folder.name} must say its name, which is the folder's, and what it is for"
        )
    return skill


def _walk(folder: Traversable, path: str) -> list[SkillFile]:
    found: list[SkillFile] = []
    for child in folder.iterdir():
        inside = f"{path}/{child.name}"
        if child.is_dir():
            found += _walk(child, inside)
        else:
            found.append(SkillFile(inside, child.read_text("utf-8")))
    return found
