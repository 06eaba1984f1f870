"""`make simulate`: worlds of many seeds, or one of them with its trace (docs/simulation.md)."""

import argparse
import sys

from tests.simulation import runner, walk


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one world, with its trace")
    parser.add_argument("--actions", type=int, help="only so many first actions of it")
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed of them")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, asked.actions)
    return _many(range(asked.first, asked.first + asked.seeds))


def _one(seed: int, actions: int | None) -> int:
    outcome = runner.replay(seed, actions)
    if outcome.violations and actions is None:
        outcome = runner.shrink(seed)
    print("\n".join(outcome.trace))
    print(runner.report(outcome) if outcome.violations else f"seed {seed}: nothing wrong")
    return 1 if outcome.violations else 0


def _many(seeds: range) -> int:
    result = runner.run_on_all_cores(seeds)
    print(result.summary())
    there = walk.reachable()
    met = there & result.coverage.pairs.keys()
    print(f"state x command: {len(met)} of {len(there)} pairs met")
    for pair in sorted(there - met):
        print("  not met:", *pair, sep=" | ")
    for outcome in result.failed:
        print(runner.report(runner.shrink(outcome.seed)))
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
