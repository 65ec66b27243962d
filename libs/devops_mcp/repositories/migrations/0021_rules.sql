-- Which events start what, as a tenant says it. Whoever starts an action locks the rule's row first, so that limits hold across workers and nothing is
-- started by a rule that was just changed, disabled or deleted.
CREATE TABLE rules (
    tenant_id       uuid NOT NULL DEFAULT current_tenant(),
    id              uuid NOT NULL,
    version         integer NOT NULL DEFAULT 1,
    owner_id        uuid NOT NULL,
    name            text NOT NULL,
    match           jsonb NOT NULL,
    action          jsonb NOT NULL,
    "limit"         jsonb NOT NULL,
    enabled         boolean NOT NULL,
    disabled_reason text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

-- What a rule made of an event: once for each version of the rule. `digest` is that of what was called.
CREATE TABLE rule_runs (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id        uuid NOT NULL,
    rule_id   uuid NOT NULL,
    version   integer NOT NULL,
    event_id  uuid NOT NULL,
    outcome   text NOT NULL,
    reason    text,
    digest    bytea,
    task_id   uuid,
    sent_id   uuid,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at  timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, rule_id, event_id, version),
    FOREIGN KEY (tenant_id, rule_id) REFERENCES rules ON DELETE CASCADE
);
CREATE INDEX rule_runs_rule ON rule_runs (tenant_id, rule_id, id);
CREATE INDEX rule_runs_recent ON rule_runs (tenant_id, rule_id, at) WHERE task_id IS NOT NULL OR sent_id IS NOT NULL;
CREATE INDEX rule_runs_calls ON rule_runs (tenant_id, rule_id, digest, at) WHERE task_id IS NOT NULL;
CREATE INDEX rule_runs_age ON rule_runs (tenant_id, at);

ALTER TABLE rules ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE rule_runs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rules USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY tenant ON rule_runs USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, UPDATE ON rules TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, DELETE ON rules TO devops_mcp_app;
GRANT SELECT, UPDATE (outcome, reason, ended_at) ON rule_runs TO devops_mcp_app, devops_mcp_worker;
GRANT INSERT, DELETE ON rule_runs TO devops_mcp_worker;

-- What started a task where no caller did: the run of a rule, and the rules that led to it.
ALTER TABLE tasks ADD COLUMN origin jsonb;
