"""The figures beside what they should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.history.measure import Taken, p
from bench.history.retention import Dropped

_DROP_S = 1.0
_DISTURBED_MS = 500.0
_A_DAY = 100_000


@dataclass(frozen=True, slots=True)
class Line:
    """A figure; `met` is None where no target stands."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


def lines(taken: Sequence[Taken], sizes: Sequence[int], dropped: Dropped | None) -> list[Line]:
    found = list(_lists(taken, sizes))
    if dropped is not None:
        found += _retention(dropped)
    return found


def groups(taken: Sequence[Taken]) -> dict[str, list[Taken]]:
    found: dict[str, list[Taken]] = {}
    for each in taken:
        found.setdefault(each.case.group.name, []).append(each)
    return found


def _lists(taken: Sequence[Taken], sizes: Sequence[int]) -> Iterator[Line]:
    short, long = sizes[0], sizes[-1]
    for name, some in groups(taken).items():
        group = some[0].case.group
        most = p(99, some, long)
        yield Line(
            f"{name}: p99 ms (p50)",
            f"{most:.1f} ({p(50, some, long):.1f})",
            f"<= {group.most_ms:g}",
            most <= group.most_ms,
        )
        if group.ratio is not None and short != long:
            ratio = most / p(99, some, short)
            yield Line(
                f"{name}: p99 / that of {short} runs",
                f"{ratio:.2f} (p50 {p(50, some, long) / p(50, some, short):.2f})",
                f"<= {group.ratio:g}",
                ratio <= group.ratio,
            )


def _retention(dropped: Dropped) -> Iterator[Line]:
    yield Line(
        f"dropping a day of {dropped.runs} runs: s (with locks)",
        f"{dropped.seconds:.3f} ({dropped.locked_s:.3f})",
        f"< {_DROP_S:g}",
        dropped.seconds < _DROP_S if dropped.runs <= _A_DAY * 1.01 else None,
    )
    share = dropped.freed_bytes / dropped.day_bytes
    yield Line("  freed of the day's bytes", f"{share:.3f}", ">= 0.99", share >= 0.99)  # noqa: PLR2004
    yield Line(
        "  longest request meanwhile (before), ms",
        f"{dropped.longest_meanwhile_ms:.0f} ({dropped.longest_before_ms:.0f})",
        f"< {_DISTURBED_MS:g}",
        dropped.longest_meanwhile_ms < _DISTURBED_MS,
    )
    yield Line("  attempts until the locks were to be had", str(dropped.attempts))


def table(found: Sequence[Line]) -> str:
    wide = max(len(line.what) for line in found)
    verdicts = {True: "met", False: "MISSED", None: ""}
    return "\n".join(
        f"{line.what:<{wide}}  {line.measured:>18}  {line.target:>8}  {verdicts[line.met]}".rstrip()
        for line in found
    )
