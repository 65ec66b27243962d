-- The worker removes what has expired, tenant by tenant; for that it may know which tenants there are, and nothing else of them.
CREATE POLICY upkeep ON tenants FOR SELECT TO devops_mcp_worker USING (true);
CREATE INDEX processed_messages_age ON processed_messages USING brin (processed_at);
