"""One settings model for every service and every way of running them.

Each setting is `DEVOPS_MCP_<NAME>` in the environment (nested with two underscores: `DEVOPS_MCP_REST__PORT`), or a key of the YAML file
that `DEVOPS_MCP_CONFIG_FILE` names; the environment wins.
"""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from devops_mcp.models.accounts import RoleName
from devops_mcp.models.base import OWN_SYSTEM
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.integrations import NAME_PATTERN, CredentialPolicy

PREFIX = "DEVOPS_MCP_"
MIN_MASTER_KEY = 32
"""Characters."""
_KEY_SOURCES = ("master_keys_file", "master_keys_secret", "master_keys_kms")
_KNOWN_TO_ALL = "development"
"""Keys that contain this word stand in a public file."""


def _postgres(address: SecretStr) -> SecretStr:
    if not address.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must be an address such as postgresql://user:password@host/database")
    return address


def _redis(address: SecretStr) -> SecretStr:
    if not address.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be an address such as redis://:password@host:6379/0")
    return address


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]


class Environment(StrEnum):
    """Where a service runs. In production no key is taken that the development files show to everybody."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"
    EMBEDDED = "embedded"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where a service listens and whom it answers.

    `allowed_hosts` are the values of `Host` that are served, without port (`*.example.com` allowed); `allowed_origins` are the origins
    of browsers, exact. Requests without an `Origin` come from programs and are not concerned.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """0: any free one."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/\s?#@]+$")
    """Where callers reach the service, as `https://mcp.example.com`: tokens are issued by it and for it. None: on this machine."""
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^\s/?#@*]+$")], ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    receive_timeout_s: float = Field(default=5.0, gt=0)
    drain_timeout_s: float = Field(default=20.0, gt=0)

    @property
    def url(self) -> str:
        """`public_url`, or the address on this machine."""
        return self.public_url or f"http://127.0.0.1:{self.port}"


class RestServerSettings(ServerSettings):
    port: int = Field(default=8080, ge=0, le=65535)


class McpServerSettings(ServerSettings):
    port: int = Field(default=8081, ge=0, le=65535)
    caller_connections: int = Field(default=5_000, ge=0, le=1_000_000)
    """How many WebSockets and open streams of one caller a process takes, half of its connections at most; of a tenant's callers
    together twice as many, four fifths at most. 0: as many as there are."""


class WorkerServerSettings(ServerSettings):
    port: int = Field(default=8082, ge=0, le=65535)


class PollSettings(_Section):
    """A poller of an integration that is to run."""

    every_s: float | None = Field(default=None, ge=1, le=86_400)
    """None: as often as the poller does by itself. A system that asks for longer pauses gets them."""


class IntegrationSettings(_Section):
    """An adapter configured for a tenant: `name` is what a tool's `target` says; `options` are the adapter's own settings."""

    name: str = Field(pattern=NAME_PATTERN)
    system: str
    tenant_id: UUID = DEFAULT_TENANT_ID
    read_only: bool = False
    credential_policy: CredentialPolicy = CredentialPolicy.SERVICE
    """Whether people's own credentials are used in place of those in `options`: `service`, `personal_preferred`, `personal_required`."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    webhook_secrets: tuple[SecretStr, ...] = ()
    polls: dict[str, PollSettings] = Field(default_factory=dict)
    """The system's pollers that the worker runs, by name, as `{alerts: {}}`: for what no webhook tells."""


class ChatVendor(StrEnum):
    """Whose interface a language model is asked by; Azure, vLLM, Ollama and others speak OpenAI's."""

    OPENAI = "openai"
    BEDROCK = "bedrock"


class SummaryModelSettings(_Section):
    """A language model that sums contexts up.

    `base_url` ends where OpenAI's `/chat/completions` begins; of Bedrock it is the endpoint, where that is not the region's own.
    """

    provider: ChatVendor = ChatVendor.OPENAI
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    model: str
    """With Bedrock the id of a model or of an inference profile."""
    api_key: SecretStr | None = None
    region: str | None = None
    """Of Bedrock; None: `aws_region`."""
    timeout_s: float = Field(default=60.0, gt=0, le=600)
    max_tokens: int | None = Field(default=None, ge=1)
    """What it reads and writes together, as its vendor says: told to who asks for the models."""
    price_per_million_tokens: float | None = Field(default=None, ge=0)
    price_per_million_output_tokens: float | None = Field(default=None, ge=0)
    """US dollars, for what it reads and for what it writes; told likewise."""

    @model_validator(mode="after")
    def _refuse_without_address(self) -> "SummaryModelSettings":
        if self.base_url is None and self.provider is ChatVendor.OPENAI:
            raise ValueError("base_url is missing")
        return self


class SignInSettings(_Section):
    """The client that an identity provider knows us by, so that people sign in there from our own pages. `name` stands on the button.

    The provider leads back to `/oauth/callback` at the address of rest-api, which has to be registered there.
    """

    name: str = Field(min_length=1, max_length=80)
    client_id: str = Field(min_length=1, max_length=500)
    client_secret: SecretStr | None = None
    scopes: tuple[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")], ...] = (
        "openid",
        "profile",
        "email",
    )


class IdentityProviderSettings(_Section):
    """An OpenID Connect provider whose access tokens both answering services take, of `issuer` exactly and for one of `audiences`.

    With `sign_in` people sign in there from our own pages, and then need no `audiences`.
    `roles` gives roles to each value of the claim `roles_claim` (`realm_access.roles` is a claim within a claim), and under `*` to
    everybody; where it is not empty, the provider alone says which roles its users have. With `create_users` whoever comes is made a
    user; otherwise users without a password wait for an identity with their e-mail address, which the provider must have verified.
    """

    issuer: str = Field(pattern=r"^https?://[^\s?#@]+$")
    audiences: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    sign_in: SignInSettings | None = None
    tenant_id: UUID = DEFAULT_TENANT_ID
    create_users: bool = False
    roles_claim: str = Field(default="groups", min_length=1)
    roles: dict[str, tuple[RoleName, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _refuse_one_for_nothing(self) -> "IdentityProviderSettings":
        if not self.audiences and self.sign_in is None:
            raise ValueError("audiences is missing, and so is sign_in")
        return self


class EmbeddingVendor(StrEnum):
    """Whose interface an embedding model is asked by; vLLM, Ollama and Text Embeddings Inference speak OpenAI's."""

    OPENAI = "openai"
    AZURE = "azure"
    BEDROCK = "bedrock"
    GOOGLE = "google"
    LOCAL = "local"


class EmbeddingModelSettings(_Section):
    """A model that embeds. Those of one `space` stand in for each other, so give two the same only where their vectors are the same."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,79}$")
    provider: EmbeddingVendor
    model: str | None = None
    """What the service calls it, with Azure the deployment; None: `name`."""
    base_url: str | None = None
    """Where `/embeddings` begins, as `http://localhost:11434/v1`; needed where the service is not the vendor's own."""
    api_key: SecretStr | None = None
    region: str | None = None
    """Of Bedrock; None: `aws_region`."""
    dimensions: int | None = Field(default=None, ge=1, le=4_000)
    space: str | None = Field(default=None, min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$")
    """None: the model and its dimensions."""
    shortens: bool = False
    """Asks an OpenAI-compatible service for vectors of `dimensions`, where the model knows several."""
    passage_prefix: str = ""
    query_prefix: str = ""
    """What a model wants before a passage or a question, as `search_query: `."""
    price_per_million_tokens: float = Field(default=0.0, ge=0)
    """US dollars."""
    max_tokens: int = Field(default=8_191, ge=1)
    max_batch: int = Field(default=64, ge=1, le=2_048)
    timeout_s: float = Field(default=20.0, gt=0, le=120)

    @model_validator(mode="after")
    def _refuse_without_dimensions(self) -> "EmbeddingModelSettings":
        if self.dimensions is None and self.provider is not EmbeddingVendor.LOCAL:
            raise ValueError("dimensions is missing")
        return self


class Settings(BaseSettings):
    """Everything that can be set. A service that lacks one refuses to start and names it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    environment: Environment = Environment.PRODUCTION
    database_url: PostgresUrl
    """The role of the services: member of `devops_mcp_app` (rest-api, mcp-server) or of `devops_mcp_worker`; never the owner."""
    migration_database_url: SecretStr | None = None
    """The owner of the schema; only `devops-mcp db migrate` uses it."""
    database_pool_size: int = Field(default=12, ge=1, le=200)
    redis_url: RedisUrl
    master_keys: tuple[SecretStr, ...]
    """Random texts of 32 characters or more that all replicas share: what is sealed or signed is so with keys made of the first, and every
    one is accepted. Exchange one by putting the new one first, and removing the old one a day later: a worker that knows both seals the
    secrets in the database anew within the hour, `devops-mcp secrets reseal` at once. May be empty, or left out, where another source is
    set; keys of `master_keys_kms` come first, then those of `master_keys_secret`, `master_keys_file`, and these."""
    master_keys_file: Path | None = None
    """A file with a key a line."""
    master_keys_secret: str | None = Field(default=None, min_length=1)
    """Name or ARN of a secret of AWS Secrets Manager (in `aws_region`), with a key a line."""
    master_keys_kms: tuple[str, ...] = ()
    """Keys that AWS KMS has encrypted (`aws kms generate-data-key-without-plaintext --key-spec AES_256`), in base64."""
    sqs_endpoint_url: str | None = None
    """None: the endpoint of `aws_region`."""
    aws_region: str = "us-east-1"
    queue_prefix: str = Field(default="devops-mcp-", pattern=r"^[A-Za-z0-9_-]{0,40}$")

    blobs_bucket: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    """The S3 bucket for large texts, attachments and payloads; None: they are kept in PostgreSQL."""
    s3_endpoint_url: str | None = None
    """None: the endpoint of `aws_region`."""

    rest: RestServerSettings = RestServerSettings()
    mcp: McpServerSettings = McpServerSettings()
    worker: WorkerServerSettings = WorkerServerSettings()

    basic_authentication: bool = False
    """Whether a username and its password are taken in every request (`Authorization: Basic`), for callers that can do nothing else."""

    identity_providers: tuple[IdentityProviderSettings, ...] = ()
    """Who else says who somebody is. Both services read their published keys; those in a private network need `private_networks`."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: LogFormat = LogFormat.JSON
    otlp_endpoint: str | None = None
    """Base address of an OTLP/HTTP collector; None: traces are propagated, not exported."""

    embedding_provider: str = Field(default="auto", pattern="^(auto|local|lexical)$")
    """`auto` takes the first of `embedding_models`, else the local model if its folder is there, else search is lexical."""
    embedding_models: tuple[EmbeddingModelSettings, ...] = ()
    embedding_model_dir: Path | None = None
    """None: where `python -m devops_mcp.embedding.prepare` puts the model."""

    compact_above_tokens: int = Field(default=20_000, ge=0, le=1_000_000_000)
    """How many tokens of a context wait before the worker sums them up; 0: only when asked."""
    context_lifetime: timedelta | None = None
    """How long a context is kept whose creator says nothing else; None: until it is deleted."""
    summary_model: SummaryModelSettings | None = None
    """None: summaries are picked from the items' sentences. A model in a private network needs `private_networks`."""

    integrations: tuple[IntegrationSettings, ...] = ()
    private_networks: tuple[str, ...] = ()
    """Networks (CIDR) that adapters and outgoing webhooks may reach although they are not public; the operator's, never a tenant's."""
    result_budget_bytes: int = Field(default=24_000, ge=2_000, le=1_000_000)
    event_retention_days: int = Field(default=365, ge=31, le=36_500)
    """How long events are kept, with what was made searchable of them; they go by the month, once all of it is older."""
    audit_retention_days: int = Field(default=1_095, ge=181, le=36_500)
    result_lifetime: timedelta = timedelta(hours=24)
    tool_deadline_s: float = Field(default=30.0, gt=0, le=600)
    requests_per_s: float = Field(default=200.0, ge=0, le=1_000_000)
    """How many requests one caller may make over REST and, beside calls of tools, over MCP, on all replicas; 0: as many as it likes."""
    requests_burst: int = Field(default=2_000, ge=1, le=1_000_000)
    """How many of them at once, after a pause."""
    tool_calls_per_s: float = Field(default=50.0, ge=0, le=100_000)
    """How many calls of tools one caller may make, over all replicas; 0: as many as it likes."""
    tool_calls_burst: int = Field(default=500, ge=1, le=1_000_000)
    """How many of them at once, after a pause."""
    tenant_rate_factor: int = Field(default=20, ge=0, le=100_000)
    """How many times what one caller may, all callers of a tenant may together, of requests and of calls; 0: as many as they like."""

    @model_validator(mode="before")
    @classmethod
    def _let_another_source_do(cls, values: dict[str, Any]) -> dict[str, Any]:
        if any(values.get(source) for source in _KEY_SOURCES):
            return {"master_keys": (), **values}
        return values

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> "Settings":
        if not self.master_keys and not any(getattr(self, source) for source in _KEY_SOURCES):
            raise ValueError(
                "master_keys is empty; give one, or master_keys_file, master_keys_secret or master_keys_kms"
            )
        names = [(i.tenant_id, i.name) for i in self.integrations]
        if len(set(names)) != len(names):
            raise ValueError("two integrations of one tenant share a name")
        if any(i.name == OWN_SYSTEM for i in self.integrations):
            raise ValueError(f"no integration may be named {OWN_SYSTEM}: it is the source of our own events")
        if len({model.name for model in self.embedding_models}) != len(self.embedding_models):
            raise ValueError("two embedding_models share a name")
        for provider in self.identity_providers:
            if provider.issuer == self.rest.url:
                raise ValueError("identity_providers: our own address is no provider")
            if self.environment is Environment.PRODUCTION and not provider.issuer.startswith("https://"):
                raise ValueError(f"identity_providers: {provider.issuer} is not reached over https")
        for key in self.master_keys:
            if len(key.get_secret_value()) < MIN_MASTER_KEY:
                raise ValueError(f"master_keys: a key is shorter than {MIN_MASTER_KEY} characters")
            if self.environment is Environment.PRODUCTION and _KNOWN_TO_ALL in key.get_secret_value():
                raise ValueError(
                    "master_keys: a key for development is public; make one with 'openssl rand -hex 32'"
                )
        for name, server in (("rest", self.rest), ("mcp", self.mcp), ("worker", self.worker)):
            if (
                server.host not in ("127.0.0.1", "::1", "localhost")
                and server.allowed_hosts == ServerSettings().allowed_hosts
            ):
                raise ValueError(
                    f"{name}.host is {server.host}: say with {name}.allowed_hosts which names are served"
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
        # The environment outranks the file, whose values arrive as arguments.
        return (env_settings, init_settings)
