"""What can go wrong and is expected; everything else is a fault of the program.

    OrchestratorError
    ├── Malformed      a value that does not have the documented form          422
    ├── Refused        well formed, but the rules or the state forbid it       400
    ├── NotFound       the thing named does not exist                          404
    ├── Overloaded     too much at the moment; try again later                 429
    ├── Unavailable    a dependency (the database) does not answer             503
    ├── Fenced         a write or claim of a term that is over                 (never leaves)
    ├── Stale          the run's rows moved under its owner                    (never leaves)
    ├── Poisoned       PostgreSQL refuses a value of a decision                (fails the run)
    ├── CallFailed     a call to an agent brought no result                    (fails the attempt)
    ├── MissingReference  there is nothing behind a mapping's `${…}`          (fails the step)
    └── Misconfigured  a setting or the surroundings make a start impossible   exit code 2

The message states the fact, names the thing, and is written for the user.
"""

from typing import Any

from orchestrator.domain.agent import Failure
from orchestrator.domain.record import record


class OrchestratorError(Exception):
    """Base of all expected errors."""

    code = "error"

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code


@record
class Fault:
    """One wrong field: where, what kind (pydantic's type names), why, and what was given."""

    loc: tuple[str | int, ...]
    type: str
    msg: str
    input: Any = None


class Malformed(OrchestratorError):
    """One or more fields are wrong."""

    code = "malformed"

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, f.loc))}: {f.msg}" for f in faults))
        self.faults = faults


class Refused(OrchestratorError):
    code = "refused"


class NotFound(OrchestratorError):
    code = "not_found"


class Overloaded(OrchestratorError):
    code = "overloaded"


class Unavailable(OrchestratorError):
    code = "unavailable"


class Fenced(OrchestratorError):
    code = "fenced"


class Misconfigured(OrchestratorError):
    code = "misconfigured"


class Stale(OrchestratorError):
    """The rows moved under who acts on what they were (a run's owner, an execute): look anew."""

    code = "stale"


class Poisoned(OrchestratorError):
    """PostgreSQL refuses a value of this decision (SQLSTATE class 22 or 23)."""

    code = "poisoned"


class CallFailed(OrchestratorError):
    """A call to an agent brought no result; `failure` says why and what may follow."""

    code = "call_failed"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


class MissingReference(OrchestratorError):
    """There is nothing behind a `${…}`, and it has no default; the message names it."""

    code = "missing_reference"
