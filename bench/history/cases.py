"""What is asked of a deployment with a history: lists at their places, and single runs."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp

from bench.history.failure import HistoryFailed
from bench.history.seed import History

_RUNS = "/api/v1/runs"
_SIZE = 20
_NEAR = 100  # pages
_OK = 200
_BY_CREATION = "created_at"
_OTHER_SORTS = ("updated_at", "completed_at", "status")
# How much longer a list may take than with a short history; only an upper bound for the others.
SLOWER, MOST_MS, MOST_ELSEWHERE_MS = 2.0, 50.0, 200.0


@dataclass(frozen=True, slots=True)
class Group:
    """Requests of one kind; `ratio`: to what they take with the shortest history."""

    name: str
    most_ms: float
    ratio: float | None = None
    share: float = 1.0  # of the samples


@dataclass(frozen=True, slots=True)
class Case:
    """One request of a group, among others of its kind."""

    group: Group
    filters: str = ""
    sort: str = _BY_CREATION
    place: str = ""


_PLACES = {
    "first": Group("lists by created_at: first 100 pages", MOST_MS, SLOWER),
    "last": Group("lists by created_at: last 100 pages", MOST_MS, SLOWER),
    "cursor": Group("lists by created_at: any cursor", MOST_MS, SLOWER),
    "middle": Group("lists by created_at: in the middle", MOST_ELSEWHERE_MS),
}
_OTHERS = {
    place: Group(f"the other sorts: {where}", MOST_ELSEWHERE_MS, share=0.3)
    for place, where in {
        "first": "first 100 pages",
        "last": "last 100 pages",
        "cursor": "any cursor",
        "middle": "in the middle",
    }.items()
}
_ONE = {tail: Group(name, MOST_MS, SLOWER, 4.0) for tail, name in {
    "": "GET of a run", "/steps": "its steps", "/logs": "its logs"
}.items()}  # fmt: skip


class Asked:
    """A deployment, the filters that are tried on it, and how much each finds."""

    def __init__(self, url: str, history: History, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.history = history
        self.filters = _filters(history)
        self.totals: dict[str, int] = {}
        self._session = session

    async def open(self) -> "Asked":
        for name, given in self.filters.items():
            self.totals[name] = (await self.get(_list(given, page_size=1)))["total"]
        return self

    async def get(self, path: str) -> Any:
        async with self._session.get(self.url + path) as answer:
            said = await answer.json()
            if answer.status != _OK:
                raise HistoryFailed(f"GET {path}: {answer.status} {said}")
            return said

    async def path(self, case: Case, chance: random.Random) -> str:
        """Return what is to be asked: another page, or run, each time."""
        if not case.place:
            return f"{_RUNS}/run-{chance.choice(self.history.runs)}{case.filters}"
        given = self.filters[case.filters] | {
            "sort_by": case.sort,
            "sort_order": chance.choice(("asc", "desc")),
        }
        pages = max(1, -(-self.totals[case.filters] // _SIZE))
        first, last = {
            "first": (1, min(pages, _NEAR)),
            "last": (max(pages - _NEAR + 1, 1), pages),
            "middle": (max(pages // 3, 1), max(pages * 2 // 3, 1)),
            "cursor": (1, max(pages - 1, 1)),
        }[case.place]
        path = _list(given, page=chance.randint(first, last))
        if case.place != "cursor":
            return path
        cursor = (await self.get(path))["next_cursor"]
        return path if cursor is None else _list(given, cursor=cursor)  # a list of one page


def cases(filters: Mapping[str, Any]) -> Iterator[Case]:
    """Return all cases."""
    for place, group in _PLACES.items():
        yield from (Case(group, name, place=place) for name in filters)
    for place, group in _OTHERS.items():
        for sort in _OTHER_SORTS:
            yield from (Case(group, name, sort, place) for name in filters)
    for tail, group in _ONE.items():
        yield Case(group, tail)


def _list(given: Mapping[str, str], **more: object) -> str:
    return f"{_RUNS}?{urlencode({**given, **more})}"


def _filters(history: History) -> dict[str, dict[str, str]]:
    """Return the filters: each alone, and some together; the dates cut hours."""
    busy, middling, rare = (history.workflows[n].key for n in (0, 5, -1))
    day = timedelta(days=max(history.days - 1, 1))
    window = {
        "created_after": (history.first + day * 0.2 + timedelta(minutes=13)).isoformat(),
        "created_before": (history.first + day * 0.7 + timedelta(minutes=41)).isoformat(),
    }
    hour = {
        "created_after": (history.first + day * 0.5 + timedelta(minutes=7)).isoformat(),
        "created_before": (history.first + day * 0.5 + timedelta(minutes=52)).isoformat(),
    }
    return {
        "all": {},
        "completed": {"status": "COMPLETED"},
        "failed": {"status": "FAILED"},
        "cancelled": {"status": "CANCELLED"},
        "running": {"status": "RUNNING"},
        "busy workflow": {"workflow_id": busy},
        "middling workflow": {"workflow_id": middling},
        "rare workflow": {"workflow_id": rare},
        "busy workflow, failed": {"workflow_id": busy, "status": "FAILED"},
        "rare workflow, cancelled": {"workflow_id": rare, "status": "CANCELLED"},
        "half of the days": window,
        "half of the days, failed": window | {"status": "FAILED"},
        "half of the days, busy workflow": window | {"workflow_id": busy},
        "minutes": hour,
    }
