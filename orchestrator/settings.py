"""Every knob: its type, default and bounds. Environment over TOML file over defaults.

A setting `x` is the variable `ORCHESTRATOR_X`, or the key `x` of the TOML file that
`ORCHESTRATOR_CONFIG` names (`config/default.toml` lists them all).
"""

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator import failpoints

PREFIX = "ORCHESTRATOR_"
_PORTS = 65_536


class InvalidSettings(Exception):
    """A setting is wrong; the message is one line that names it and what it may be."""


class Settings(BaseSettings):
    """The configuration of one process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    database_url: str | None = Field(
        None, repr=False, description="PostgreSQL 15 or newer; unset: the embedded one."
    )
    kafka_bootstrap_servers: str | None = Field(
        None, description="Kafka brokers, host:port[,host:port]; unset: the embedded feed."
    )
    data_dir: Path | None = Field(
        None, description="Folder of the embedded database and the key file; unset: the user's."
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Fernet keys that seal auth_config, comma-separated: the first seals, all"
        " open. Unset: a key file in the data folder.",
    )
    pg_bin: Path | None = Field(
        None, description="Folder of PostgreSQL's programs for the embedded database."
    )

    kafka_topic: str = Field(
        "orchestrator.commands",
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
        description="Topic of the commands; deployments may share one.",
    )
    kafka_group: str | None = Field(
        None,
        min_length=1,
        description="Consumer group of this deployment's processes. Unset: orchestrator- and the"
        " deployment's id, which the database holds.",
    )
    kafka_replication_factor: int = Field(
        1, ge=1, le=9, description="Replicas of the topic when it is created."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the brokers are talked to."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How to log in, with a SASL protocol."
    )
    kafka_sasl_username: str | None = Field(None, description="User, with a SASL protocol.")
    kafka_sasl_password: SecretStr | None = Field(
        None, description="Password, with a SASL protocol."
    )
    kafka_ssl_cafile: Path | None = Field(
        None, description="CA certificates (PEM) of the brokers. Unset: the system's."
    )
    kafka_ssl_certfile: Path | None = Field(
        None, description="Client certificate (PEM), where brokers ask for one."
    )
    kafka_ssl_keyfile: Path | None = Field(
        None, description="Key of the client certificate. Unset: in the same file."
    )

    partitions: int = Field(16, ge=1, le=1024, description="Partitions that runs are spread over.")
    max_active_runs: int = Field(
        1_000, ge=1, le=100_000, description="Runs at work at a time; more wait as rows."
    )
    database_connections: int = Field(
        10, ge=2, le=200, description="Connections of the API's pool."
    )
    journal_connections: int = Field(1, ge=1, le=16, description="Connections of the journal.")
    scan_interval_s: float = Field(
        1.0, ge=0.05, le=60, description="How often owners look at their rows, in seconds."
    )
    park_after_s: float = Field(
        5.0, ge=0, le=3600, description="A longer wait is kept as a row only, in seconds."
    )
    step_timeout_s: float = Field(
        3600.0, gt=0, le=31_536_000, description="A step's default timeout_ms, in seconds."
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0, le=600, description="What calls in flight get at a stop, in seconds."
    )

    handover_grace_s: float = Field(
        3.0,
        ge=0,
        le=60,
        description="What calls in flight get when their partition moves to another process, in"
        " seconds.",
    )

    cancel_patience_s: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="How long an agent that does not confirm a cancelled task is asked again, in"
        " seconds.",
    )

    max_body_bytes: int = Field(4 * 2**20, ge=1024, le=2**30, description="Largest request body.")
    max_answer_bytes: int = Field(
        8 * 2**20, ge=1024, le=2**30, description="Largest answer taken from an agent."
    )
    agent_max_calls: int = Field(
        64, ge=1, le=10_000, description="Calls at a time to one agent, by this process."
    )
    public_url: str | None = Field(
        None,
        description="URL under which agents reach this process, for push notifications; unset: they"
        " are polled or listened to.",
    )
    egress_schemes: str = Field(
        "http,https", description="Schemes of agents that may be called, comma-separated."
    )
    egress_ports: str = Field(
        "", description="Ports of agents that may be called, comma-separated; empty: any."
    )
    egress_allow: str = Field(
        "0.0.0.0/0,::/0", description="Networks (CIDR) that may be called, comma-separated."
    )
    egress_deny: str = Field(
        "169.254.0.0/16,fd00:ec2::254/128",
        description="Networks (CIDR) that are not called, also where they are allowed. The default"
        " holds what clouds answer instances' credentials at; private networks are called.",
    )
    max_waiters: int = Field(
        1_000, ge=0, le=100_000, description="Requests that may wait (?wait=) at a time."
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="Days that ended runs are kept; unset: for ever."
    )
    logs_endpoint: Literal["history", "placeholder"] = Field(
        "history", description="What /runs/{id}/logs answers: the history, or the guide's 501."
    )
    readiness_requires_kafka: bool = Field(
        default=False, description="Whether /health/ready is 503 while Kafka is away."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: readable on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least of what is logged."
    )

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, url: str | None) -> str | None:
        """Check the form; `postgresql://user@/name?host=/folder` names a unix socket."""
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
                raise PydanticCustomError(
                    "database_url", "it has the form postgresql://user:password@host:5432/database"
                )
        return url

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _names_brokers(cls, servers: str | None) -> str | None:
        for server in () if servers is None else servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit():
                raise PydanticCustomError(
                    "bootstrap_servers", "it has the form host:port[,host:port]"
                )
        return servers

    @field_validator("public_url")
    @classmethod
    def _is_a_base(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
                raise ValueError("it has the form https://host[:port][/path]")
        return url

    @field_validator("egress_schemes")
    @classmethod
    def _names_schemes(cls, text: str) -> str:
        schemes = listed(text)
        if not schemes or not set(schemes) <= {"http", "https"}:
            raise ValueError("it holds http or https, or both")
        return text

    @field_validator("egress_ports")
    @classmethod
    def _names_ports(cls, text: str) -> str:
        if not all(port.isdigit() and 0 < int(port) < _PORTS for port in listed(text)):
            raise ValueError("it has the form 443,8443")
        return text

    @field_validator("egress_allow", "egress_deny")
    @classmethod
    def _names_networks(cls, text: str) -> str:
        for network in listed(text):
            ip_network(network)  # its error says what is wrong
        return text

    @model_validator(mode="after")
    def _kafka_login_is_whole(self) -> Self:
        sasl = self.kafka_security_protocol.startswith("SASL")
        whole = self.kafka_sasl_username is not None and self.kafka_sasl_password is not None
        if sasl and not whole:
            raise PydanticCustomError(
                "kafka_login",
                "ORCHESTRATOR_KAFKA_SECURITY_PROTOCOL={protocol} needs"
                " ORCHESTRATOR_KAFKA_SASL_USERNAME and ORCHESTRATOR_KAFKA_SASL_PASSWORD",
                {"protocol": self.kafka_security_protocol},
            )
        if self.kafka_ssl_keyfile is not None and self.kafka_ssl_certfile is None:
            raise PydanticCustomError(
                "kafka_key",
                "ORCHESTRATOR_KAFKA_SSL_KEYFILE needs ORCHESTRATOR_KAFKA_SSL_CERTFILE",
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get(PREFIX + "CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return init_settings, env_settings, *toml

    @property
    def step_timeout(self) -> timedelta:
        """A step's default `timeout_ms`."""
        return timedelta(seconds=self.step_timeout_s)

    @property
    def data_folder(self) -> Path:
        """The data folder in force; as root, one that the unprivileged database user can reach."""
        if self.data_dir is not None:
            return self.data_dir.expanduser().absolute()
        if os.name == "posix" and os.geteuid() == 0:
            return Path("/var/lib/orchestrator")
        return user_data_path("orchestrator", appauthor=False)


def listed(text: str) -> list[str]:
    """Return the items of a comma-separated setting."""
    return [item.strip() for item in text.split(",") if item.strip()]


def load() -> Settings:
    """Read the settings; raise `InvalidSettings` with one line for each that is wrong."""
    file = os.environ.get(PREFIX + "CONFIG")
    if file and not Path(file).is_file():
        raise InvalidSettings(f"{PREFIX}CONFIG: there is no file {file}")
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {PREFIX + "CONFIG", failpoints.VARIABLE}
    unknown = sorted(v for v in os.environ if v.startswith(PREFIX) and v not in known)
    if unknown:
        raise InvalidSettings(f"{unknown[0]}: there is no such setting")
    point = os.environ.get(failpoints.VARIABLE)
    if point and (wrong_point := failpoints.problem(point)):
        raise InvalidSettings(f"{failpoints.VARIABLE}: {wrong_point}")
    try:
        return Settings()
    except ValidationError as wrong:
        raise InvalidSettings("; ".join(_line(e, file) for e in wrong.errors())) from None
    except ValueError as wrong:  # TOML that cannot be read
        raise InvalidSettings(f"{file}: {wrong}") from None


def _line(error: ErrorDetails, file: str | None) -> str:
    """Say what is wrong with a setting, and whether it stands in the file."""
    if not error["loc"]:  # about several settings; it names them itself
        return error["msg"]
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{file}: there is no setting '{name}'"
    variable = PREFIX + name.upper()
    from_file = f" (in {file})" if file and variable not in os.environ else ""
    return f"{variable}: {error['msg']}{from_file}"
