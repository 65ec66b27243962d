"""A person at a browser, as far as the pages need one: cookies, forms, and redirects followed until one leads elsewhere."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2


@dataclass
class Form:
    """A form of a page: where it goes, its fields as they stand, and the names of its buttons."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """A page's forms and text."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        self.answer = answer
        self.forms: list[Form] = []
        self.text = ""
        self.boxes: list[tuple[str, str, bool]] = []
        self.links: list[str] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given["action"]))
        elif tag == "input" and given["type"] == "checkbox":
            self.boxes.append((given["name"], given["value"], "checked" in given))
            if "checked" in given:
                self.forms[-1].fields.append((given["name"], given["value"]))
        elif tag == "input":
            self.forms[-1].fields.append((given["name"], given.get("value", "")))
        elif tag == "a":
            self.links.append(given["href"])
        elif tag == "button" and "name" in given:
            self.forms[-1].buttons.append((given["name"], given["value"]))

    def handle_data(self, data: str) -> None:
        if not data.strip().startswith("body {"):
            self.text += data


class Person:
    """Somebody at a browser. `away` is where a redirect led that left the service."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.away: str | None = None

    async def open(self, url: str) -> Page:
        """The page at an address of the service."""
        return await self._settled(await self.http.get(urljoin(self.url, url)))

    async def submit(self, page: Page, form: int = -1, **fields: str | list[str]) -> Page:
        """Send a page's form, with these fields instead of how they stand; `decision` is a button."""
        sent = page.forms[form]
        given = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
        pairs = [pair for pair in sent.fields if pair[0] not in given]
        pairs += [(name, value) for name, values in given.items() for value in values]
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url}
        answer = await self.http.post(
            urljoin(self.url, sent.action), content=urlencode(pairs), headers=headers
        )
        return await self._settled(answer)

    async def sign_in(self, page: Page, username: str, password: str) -> Page:
        return await self.submit(page, username=username, password=password)

    def answered(self) -> dict[str, str]:
        """The parameters of the redirect that led away, each once."""
        assert self.away is not None, "no redirect led away"
        pairs = parse_qsl(urlsplit(self.away).query, keep_blank_values=True)
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    async def _settled(self, answer: httpx2.Response) -> Page:
        self.away = None
        while answer.is_redirect:
            to = urljoin(str(answer.url), answer.headers["location"])
            if not to.startswith(f"{self.url}/"):
                self.away = to
                break
            answer = await self.http.get(to)
        return Page(answer)
