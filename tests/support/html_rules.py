"""What a page of ours must be, whoever looks at it and however: valid HTML, named controls, nothing that runs, nothing from elsewhere."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias
from xml.etree.ElementTree import Element

import html5lib
from html5lib.constants import E as MESSAGES

HTML = "{http://www.w3.org/1999/xhtml}"
_CONTROLS = {"input", "select", "textarea"}
_ADDRESSES = {"src", "href", "action", "formaction"}
Parents: TypeAlias = dict[Element, Element]


def faults_of(page: str) -> list[str]:
    """What is wrong with the page; nothing where all is well."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=True)
    root: Element = parser.parse(page)
    invalid = [MESSAGES[code] % details for _, code, details in parser.errors]
    parents = {child: parent for parent in root.iter() for child in parent}
    return [*invalid, *_structure(root), *_controls(root, parents), *_safety(root)]


def _all(root: Element, *names: str) -> list[Element]:
    return [element for element in root.iter() if _name(element) in names]


def _name(element: Element) -> str:
    return str(element.tag).removeprefix(HTML)


def _text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _structure(root: Element) -> Iterator[str]:
    if not root.get("lang"):
        yield "the language is not said"
    for name in ("title", "h1", "main"):
        if len(found := _all(root, name)) != 1 or not _text(found[0]):
            yield f"{len(found)} of <{name}>, or one without text"
    levels = [int(_name(heading)[1]) for heading in _all(root, "h1", "h2", "h3", "h4")]
    if any(after > before + 1 for before, after in pairwise(levels)):
        yield f"headings skip a level: {levels}"
    ids = Counter(element.get("id") for element in root.iter() if element.get("id") is not None)
    yield from (f"the id {name!r} comes {count} times" for name, count in ids.items() if count > 1)
    for fieldset in _all(root, "fieldset"):
        if not (len(fieldset) and _name(fieldset[0]) == "legend" and _text(fieldset[0])):
            yield "a fieldset does not begin with its legend"


def _controls(root: Element, parents: Parents) -> Iterator[str]:
    for control in _all(root, *_CONTROLS):
        if control.get("type") != "hidden" and not _is_named(control, root, parents):
            yield f"the control {control.get('name')!r} has no name that can be read out"
        described = control.get("aria-describedby")
        if described is not None and not any(element.get("id") == described for element in root.iter()):
            yield f"{control.get('name')!r} is described by nothing"
    for button in _all(root, "button", "a", "summary"):
        if not _text(button):
            yield f"a <{_name(button)}> says nothing"
    if sum(element.get("autofocus") is not None for element in root.iter()) > 1:
        yield "two want the focus at once"
    if any(element.get("tabindex", "0") not in ("0", "-1") for element in root.iter()):
        yield "the order of the tabulator is not that of the page"
    for form in _all(root, "form"):
        if form.get("method") != "post" or not _all(form, "button"):
            yield "a form that is not posted, or has no button"


def _is_named(control: Element, root: Element, parents: Parents) -> bool:
    if control.get("aria-label"):
        return True
    element: Element | None = control
    while element is not None:
        if _name(element) == "label" and _text(element):
            return True
        element = parents.get(element)
    own = control.get("id")
    return own is not None and any(label.get("for") == own and _text(label) for label in _all(root, "label"))


def _safety(root: Element) -> Iterator[str]:
    yield from (
        f"<{_name(found)}> has no place here" for found in _all(root, "script", "iframe", "object", "embed")
    )
    for element in root.iter():
        for attribute, value in element.attrib.items():
            if attribute.startswith("on") or attribute == "style":
                yield f"<{_name(element)}> has {attribute}"
            if attribute in _ADDRESSES and not value.startswith(("/", "#")):
                yield f"<{_name(element)}> leads to {value}"
