"""An example of each body that a request may have, by the name of its model; a test holds each against the model."""

from collections.abc import Mapping

from devops_mcp.models.base import JsonObject

_ID = "01a1ff44-3c91-7535-b73f-480035c8794e"
_PASSWORD = "correct horse battery staple"  # noqa: S105 - of nobody
_AGENT: JsonObject = {
    "name": "release-bot",
    "description": "Watches builds and writes release notes.",
    "capabilities": ["release-notes", "triage"],
    "metadata": {"team": "shop"},
}
_API_KEY: JsonObject = {
    "name": "ci",
    "roles": ["agent"],
    "grants": ["events:read", "tools:call:github_*"],
    "expires_at": "2027-06-30T00:00:00Z",
}
_CONTEXT: JsonObject = {
    "title": "Why did the checkout build fail?",
    "metadata": {"team": "shop"},
    "expires_at": "2027-06-30T00:00:00Z",
}
_INTEGRATION: JsonObject = {
    "credential_policy": "personal_preferred",
    "credentials": {"token": "a token of the system"},
}
_ROLE: JsonObject = {"description": "Reads events and answers alerts.", "grants": ["events:read", "rules:*"]}
_RULE: JsonObject = {
    "name": "Tell us of builds that fail",
    "match": {"types": ["build.finished"], "fields": [{"path": "$.failed", "value": True}]},
    "action": {"kind": "notification", "title": "{{ $.title }}"},
    "limit": {"runs": 10, "per_s": 60},
}
_USER: JsonObject = {
    "username": "alice",
    "email": "alice@example.com",
    "name": "Alice Lee",
    "roles": ["developer"],
}

EXAMPLES: Mapping[str, JsonObject] = {
    "AgentDraft": _AGENT,
    "ApiKeyDraft": _API_KEY,
    "Compaction": {"keep_tokens": 2_000},
    "ContextDraft": _CONTEXT,
    "DraftDryRun": {"rule": _RULE, "since": "2026-11-01T00:00:00Z", "limit": 20},
    "EndpointDraft": {
        "name": "deployments",
        "url": "https://hooks.example.com/devops",
        "filter": {"types": ["deployment.*"]},
    },
    "ErasureOrder": {"confirm": "acme"},
    "EventRange": {"since": "2026-11-01T00:00:00Z", "limit": 20},
    "ForkOf": {"title": "Another way to mend the build", "position": 12},
    "Heartbeat": {"state": "busy", "able": ["triage"]},
    "IdentityName": {"issuer": "https://id.example.com", "subject": "248289761001"},
    "IntegrationDraft": _INTEGRATION,
    "KeyRotation": {"grace_minutes": 60},
    "Login": {"username": "acme/alice", "password": _PASSWORD, "audience": "mcp-server"},
    "NewAgent": {**_AGENT, "principal_id": _ID},
    "NewApiKey": {**_API_KEY, "kind": "agent"},
    "NewChoice": {"model": "all-MiniLM-L6-v2", "tenant": True},
    "NewContext": _CONTEXT,
    "NewIntegration": {"name": "github-prod", "system": "github", **_INTEGRATION},
    "NewItems": {
        "items": [
            {"kind": "message", "role": "user", "text": "Why did the checkout build fail?"},
            {"kind": "note", "text": "It fails since the upgrade of the database.", "pinned": True},
        ]
    },
    "NewRole": {"name": "on-call", **_ROLE},
    "NewSnapshot": {"name": "before the upgrade"},
    "NewTaskOfTool": {
        "tool": "github_search",
        "arguments": {"query": "is:open label:bug"},
        "priority": "high",
        "idempotency_key": "nightly-triage-2026-11-21",
    },
    "NewTenant": {
        "name": "Acme",
        "slug": "acme",
        "owner": {"username": "zoe", "name": "Zoe Ray", "password": _PASSWORD},
    },
    "NewUser": {**_USER, "password": _PASSWORD},
    "NewVectors": {"input": ["the checkout build fails", "deployment of the shop"], "purpose": "passage"},
    "NewWebhookSecret": {"overlap_hours": 24},
    "OfQueue": {"queue": "events"},
    "OfUser": {"user_id": _ID},
    "OneClient": {"client_id": "https://client.example.com/metadata.json"},
    "OtherPassword": {"password": _PASSWORD},
    "OwnCredentials": {"credentials": {"token": "a token of one's own"}},
    "PasswordChange": {"current_password": _PASSWORD, "password": "another horse, another staple"},
    "Question": {"query": "why does the checkout build fail", "systems": ["github"], "limit": 5},
    "QuotaDraft": {"tool_calls_per_day": 10_000, "embedding_tokens_per_month": 5_000_000},
    "Refresh": {"refresh_token": "the refresh token of the answer before"},
    "ReplayDraft": {
        "events": {"type": "deployment.*", "since": "2026-11-01T00:00:00Z"},
        "consumer": "processing",
    },
    "Retention": {"expires_at": "2027-06-30T00:00:00Z"},
    "RetentionWanted": {"event_days": 365, "context_days": 90},
    "RoleDraft": _ROLE,
    "RuleDraft": _RULE,
    "SecretRotation": {"overlap_hours": 24},
    "TaskAnswers": {
        "answers": {"approval": {"kind": "form", "action": "accept", "content": {"confirm": True}}}
    },
    "TenantDraft": {"name": "Acme"},
    "ToolArguments": {"arguments": {"query": "why does the checkout build fail"}},
    "UserDraft": _USER,
}


def example_of(model: str, *, patch: bool = False) -> JsonObject:
    """What a body of this model may be; of a patch, one member of it."""
    whole = EXAMPLES[model]
    return dict([next(iter(whole.items()))]) if patch else whole
