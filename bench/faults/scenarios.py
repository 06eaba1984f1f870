"""The faults, in the order of their importance: the rows of the table."""

from bench.faults import checks, inputs, schedules
from bench.faults.load import Load
from bench.faults.scenario import Scenario
from bench.faults.stage import Setup
from orchestrator import failpoints

ALONE = Setup(orchestrators=1, kafka=False)
THREE = Setup(orchestrators=3)
BUSY = Load(cancelled=0.15, retried=0.5)  # with cancels and retries in between


def scenarios(kills: int, backlog: int) -> tuple[Scenario, ...]:
    """Return all of them.

    `kills`: how often a process dies at each named point; `backlog`: how many unfinished runs a
    restart finds.
    """
    impatient = Setup(agent_timeout_ms=1_500)
    return (
        Scenario(name="none", fault="no fault", schedule=schedules.quietly, load=BUSY),
        Scenario(name="kill", fault="SIGKILL, two processes", schedule=schedules.kills, load=BUSY),
        Scenario(
            name="kill-alone",
            fault="SIGKILL, one process without Kafka",
            schedule=schedules.kills_alone,
            setup=ALONE,
            load=BUSY,
        ),
        Scenario(
            name="points-alone",
            fault=f"SIGKILL at {len(schedules.POINTS)} named points, one process",
            schedule=schedules.killed_at_points(kills),
            setup=ALONE,
            load=BUSY,
        ),
        Scenario(
            name="points",
            fault=f"SIGKILL at {len(failpoints.POINTS)} named points, two processes",
            schedule=schedules.killed_at_points_beside_another(kills),
            load=BUSY,
        ),
        Scenario(
            name="pause", fault="SIGSTOP for 1 to 20 s", schedule=schedules.pauses, paused=True
        ),
        Scenario(
            name="still",
            fault=f"SIGSTOP at {len(schedules.STILL)} named points until replaced",
            schedule=schedules.still,
            paused=True,
            check=checks.late_writes_were_refused,
        ),
        Scenario(
            name="postgres",
            fault="PostgreSQL killed, stopped, restarted",
            schedule=schedules.postgres,
        ),
        Scenario(
            name="backends", fault="sessions of PostgreSQL ended", schedule=schedules.backends
        ),
        Scenario(
            name="half-open", fault="connections half-open, cut off", schedule=schedules.half_open
        ),
        Scenario(name="answers", fault="answers to commits lost", schedule=schedules.answers_lost),
        Scenario(
            name="fight",
            fault="partitions taken by a stale owner",
            schedule=schedules.fights,
            check=checks.fights_were_counted,
        ),
        Scenario(name="kafka", fault="Kafka killed, standing still", schedule=schedules.kafka),
        Scenario(name="kafka-away", fault="Kafka away for a minute", schedule=schedules.kafka_away),
        Scenario(
            name="topic",
            fault="topic deleted; offsets to start and end",
            schedule=schedules.topic,
            load=BUSY,
        ),
        Scenario(
            name="cancel", fault="cancel every 5 ms, racing with retries", schedule=schedules.sweep
        ),
        Scenario(
            name="storm",
            fault="a process joins and leaves every 3 s",
            schedule=schedules.storm,
            setup=THREE,
            check=checks.goodput_stayed,
        ),
        Scenario(
            name="poison",
            fault="poison records",
            schedule=schedules.poison,
            check=checks.poison_was_counted,
        ),
        Scenario(
            name="echo",
            fault="30 % of records doubled, late, reordered",
            schedule=schedules.echo,
            load=BUSY,
        ),
        Scenario(
            name="agents",
            fault="agents: 503, 429, lost, reset, hanging, dripping",
            schedule=schedules.long,
            setup=impatient,
            load=Load(rate=10, draw=inputs.passing),
        ),
        Scenario(
            name="useless",
            fault="agents: 50 MB, no UTF-8, redirects, wrong id, endless",
            schedule=schedules.long,
            setup=Setup(agent_timeout_ms=5_000, step_timeout_ms=3_000),
            load=Load(rate=5, draw=inputs.useless, may_fail=True),
            check=checks.useless_answers_are_named,
        ),
        Scenario(
            name="clock",
            fault="clocks an hour fast and an hour slow",
            schedule=schedules.clock,
            setup=Setup(agent_timeout_ms=1_500),
            load=Load(rate=10, draw=inputs.passing),
            check=checks.retries_were_not_late,
        ),
        Scenario(name="rolling", fault="rolling restart", schedule=schedules.rolling, load=BUSY),
        Scenario(name="files", fault="file descriptors exhausted", schedule=schedules.files),
        Scenario(
            name="disk",
            fault="disk full under PostgreSQL",
            schedule=schedules.disk,
            setup=Setup(disk_mb=200),
        ),
        Scenario(
            name="backlog",
            fault=f"restart with {backlog:,} unfinished runs",
            schedule=schedules.backlog(backlog),
            load=Load(rate=1),
            check=checks.agents_saw_no_burst,
        ),
        Scenario(
            name="mix",
            fault="a mix of all, three processes",
            schedule=schedules.mix,
            setup=Setup(orchestrators=3, agent_timeout_ms=3_000),
            load=Load(draw=inputs.passing, cancelled=0.1, retried=0.5),
            paused=True,
        ),
    )
