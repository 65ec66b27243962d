-- current_tenant() in a policy is computed for every row that is looked at; as a subquery once a statement. These two tables are read by the
-- thousand: comparing the question with the 10,000 passages of a context took five times as long.
ALTER POLICY tenant ON passages USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
ALTER POLICY tenant ON context_items USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
