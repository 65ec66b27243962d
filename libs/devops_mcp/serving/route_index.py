"""Routes found by how their path begins, so that neither the hundredth route nor a path that is not there costs a hundred comparisons."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Receive, Scope, Send

_PREFIX = 3
"""Segments that are looked at: `/api/v1/contexts`."""

Key = tuple[tuple[str, ...], int | None]


class IndexedRouter(Router):
    """As Starlette's own, with the same order among routes that begin alike. It does not redirect to or from a final slash."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        super().__init__(routes, redirect_slashes=False)
        self._index: defaultdict[Key, list[BaseRoute]] = defaultdict(list)
        for route in routes:
            self._index[_key_of(route)].append(route)
        # Read only from here on: a look-up must not add to it.
        self._index.default_factory = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        # Whoever looks for an application finds one, and what has no route is an `HTTPException`.
        scope["app"] = scope["router"] = self
        found = self._found(scope)
        if found is None:
            await self.default(scope, receive, send)
            return
        route, child_scope = found
        scope["route"] = route
        scope.update(child_scope)
        await route.handle(scope, receive, send)

    def _found(self, scope: Scope) -> tuple[BaseRoute, Scope] | None:
        """The route that answers; where all lack the method, the first, which says so."""
        partial: tuple[BaseRoute, Scope] | None = None
        for route in self._candidates(scope["path"]):
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                return route, child_scope
            if match is Match.PARTIAL and partial is None:
                partial = route, child_scope
        return partial

    def _candidates(self, path: str) -> Iterator[BaseRoute]:
        segments = path.split("/")[1:]
        for length in range(min(_PREFIX, len(segments)), -1, -1):
            prefix = tuple(segments[:length])
            for count in (len(segments), None):
                yield from self._index.get((prefix, count), ())


def _key_of(route: BaseRoute) -> Key:
    """The literal beginning of its path, and how many segments that has; None where a parameter may be several."""
    path = getattr(route, "path", "")
    segments = path.split("/")[1:]
    literal = list(_literal(segments))[:_PREFIX]
    fixed = isinstance(route, Route) and ":path}" not in path
    return tuple(literal), len(segments) if fixed else None


def _literal(segments: Iterable[str]) -> Iterator[str]:
    for segment in segments:
        if "{" in segment:
            return
        yield segment
