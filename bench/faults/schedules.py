"""When what is done: each schedule is drawn from a seed, and is the same for the same seed."""

import random
from collections.abc import Sequence

from bench.faults.schedule import Act, Schedule, act
from orchestrator import failpoints

# Points that a process alone comes to as well; the others need Kafka.
KAFKA_POINTS = tuple(p for p in failpoints.POINTS if p.startswith(("publish", "offsets")))
POINTS = tuple(p for p in failpoints.POINTS if p not in KAFKA_POINTS)
# Where a process that stands still is most dangerous: what it was about to do it does much later.
STILL = ("commit.before", "commit.after", "call.before", "answer.before", "answer.after")
# Visits to a point after which a process dies there: some points it seldom comes to.
_VISITS = {"claim": 6, "offsets": 3}
_MOST_VISITS = 12
_MIX_S = 60.0


def quietly(_: random.Random) -> Sequence[Act]:
    return [act(0, "sleep", for_s=5)]


def kills(rng: random.Random) -> Sequence[Act]:
    at = 0.0
    acts = []
    for _ in range(4):
        acts.append(act(at, "kill", process=rng.randrange(2), down_for=rng.uniform(0, 3)))
        at += rng.uniform(2, 9)
    return acts


def kills_alone(rng: random.Random) -> Sequence[Act]:
    return [act(n * 6.0, "kill", process=0, down_for=rng.uniform(0, 1)) for n in range(5)]


def _lives(points: Sequence[str], kills: int, rng: random.Random, suffix: str = "") -> list[str]:
    """Return so many lives for each point, each ended at an early or a later visit to it."""
    lives = []
    for point in points:
        most = _VISITS.get(point.partition(".")[0], _MOST_VISITS)
        lives += [f"{point}:{rng.randint(1, most)}{suffix}" for _ in range(kills)]
    rng.shuffle(lives)
    return lives


def pauses(rng: random.Random) -> Sequence[Act]:
    """Short ones, which nobody notices, and ones beyond the session's end."""
    at = 0.0
    acts = []
    for longest in (2.0, 12.0, 2.0, 20.0):
        for_s = rng.uniform(longest / 2, longest)
        acts.append(act(at, "pause", process=rng.randrange(2), for_s=for_s))
        at += for_s + rng.uniform(1, 6)
    return acts


def still(rng: random.Random) -> Sequence[Act]:
    """Stand still at a named point until somebody else has the partitions, then go on."""
    lives = _lives(STILL, 1, rng, ":stop")
    return [act(0, "failpoints", process=1, lives=lives)]


def postgres(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "postgres_killed", down_for=rng.uniform(0, 4)),
        act(10, "postgres_stopped", down_for=rng.uniform(0, 4), how="fast"),
        act(20, "postgres_stopped", down_for=rng.uniform(0, 2), how="immediate"),
        # also while a process recovers
        act(28, "kill", process=rng.randrange(2), down_for=0.5),
        act(rng.uniform(29.0, 31.0), "postgres_killed", down_for=rng.uniform(0, 2)),
    ]


def backends(rng: random.Random) -> Sequence[Act]:
    return [act(n * 0.7, "backends_ended", count=rng.randint(1, 6)) for n in range(15)]


def half_open(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "half_open", process=0, for_s=0),
        act(8, "cut_off", process=1, for_s=rng.uniform(1, 5)),
        act(16, "half_open", process=1, for_s=0),
        act(18, "sleep", for_s=30),
    ]


def answers_lost(rng: random.Random) -> Sequence[Act]:
    return [
        act(n * 1.0, "answers_lost", process=rng.randrange(2), for_s=rng.uniform(0.01, 0.3))
        for n in range(20)
    ]


def fights(rng: random.Random) -> Sequence[Act]:
    return [act(n * 2.0, "stolen", count=rng.randint(1, 8)) for n in range(6)]


def kafka(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "kafka_killed", down_for=rng.uniform(0, 3)),
        act(20, "kafka_paused", for_s=rng.uniform(8, 12)),
    ]


def kafka_away(rng: random.Random) -> Sequence[Act]:
    return [act(0, "kafka_killed", down_for=60.0 + rng.uniform(0, 3))]


def topic(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "topic_deleted"),
        act(rng.uniform(8, 12), "topic_deleted"),
        act(25, "offsets_reset", to="start"),
        act(45, "offsets_reset", to="end"),
    ]


def storm(rng: random.Random) -> Sequence[Act]:
    """Let a third process join and leave every three seconds."""
    how = ("kill", "stop")
    return [act(n * 3.0, rng.choice(how), process=2, down_for=0.5) for n in range(12)]


def poison(rng: random.Random) -> Sequence[Act]:
    return [act(n * 2.0, "poison", count=rng.randint(5, 40)) for n in range(5)]


def echo(_: random.Random) -> Sequence[Act]:
    return [act(0, "echo", share=0.3, for_s=15.0)]


def long(_: random.Random) -> Sequence[Act]:
    return [act(0, "sleep", for_s=20)]


def sweep(_: random.Random) -> Sequence[Act]:
    return [act(0, "cancel_sweep", every_ms=5, up_to_ms=500, clients=3)]


def clock(_: random.Random) -> Sequence[Act]:
    return [
        act(0, "clock", process=0, seconds=3600),
        act(1, "clock", process=1, seconds=-3600),
        act(20, "stop", process=0, down_for=0),
        act(22, "sleep", for_s=8),
    ]


def rolling(_: random.Random) -> Sequence[Act]:
    return [act(0, "roll"), act(1, "sleep", for_s=5)]


def files(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "few_files", process=0, for_s=rng.uniform(4, 8)),
        act(12, "few_files", process=1, for_s=rng.uniform(4, 8)),
    ]


def disk(rng: random.Random) -> Sequence[Act]:
    return [
        act(0, "disk_full", for_s=rng.uniform(3, 6)),
        act(15, "disk_full", for_s=rng.uniform(3, 6)),
    ]


def backlog(count: int) -> Schedule:
    """Let the processes find so many unfinished runs when they start."""
    return lambda _: [act(0, "backlog", count=count)]


def mix(rng: random.Random) -> Sequence[Act]:
    """Draw a fault every few seconds, of all kinds, also while another one lasts."""
    kinds = (
        lambda: act(0, "kill", process=rng.randrange(3), down_for=rng.uniform(0, 4)),
        lambda: act(0, "pause", process=rng.randrange(3), for_s=rng.uniform(1, 12)),
        lambda: act(0, "backends_ended", count=rng.randint(1, 6)),
        lambda: act(0, "cut_off", process=rng.randrange(3), for_s=rng.uniform(0, 3)),
        lambda: act(0, "answers_lost", process=rng.randrange(3), for_s=rng.uniform(0.01, 0.2)),
        lambda: act(0, "stolen", count=rng.randint(1, 8)),
        lambda: act(0, "poison", count=rng.randint(1, 20)),
    )
    at = 0.0
    acts = [act(0, "echo", share=0.3, for_s=_MIX_S)]
    while at < _MIX_S:
        drawn = rng.choice(kinds)()
        acts.append(Act(at, drawn.what, drawn.with_))
        at += rng.uniform(0.5, 6)
    acts += [
        act(rng.uniform(10, 25), "postgres_killed", down_for=rng.uniform(0, 2)),
        act(rng.uniform(35, 45), "kafka_killed", down_for=rng.uniform(0, 5)),
    ]
    return acts


def killed_at_points(kills: int) -> Schedule:
    """Let one process die at each of its points, so many times."""
    return lambda rng: [act(0, "failpoints", process=0, lives=_lives(POINTS, kills, rng))]


def killed_at_points_beside_another(kills: int) -> Schedule:
    """Let the second process die at each point, at those that need Kafka so many times."""

    def drawn(rng: random.Random) -> Sequence[Act]:
        few = max(1, kills // 10)  # each costs the group a rebalance
        lives = _lives(KAFKA_POINTS, kills, rng) + _lives(POINTS, few, rng)
        rng.shuffle(lives)
        return [act(0, "failpoints", process=1, lives=lives)]

    return drawn
