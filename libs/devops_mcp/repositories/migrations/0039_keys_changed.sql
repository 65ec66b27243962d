-- What a key is called and what it may can be said anew, its secret staying as it is.
GRANT UPDATE (name, roles, grants, toolsets) ON api_keys TO devops_mcp_app;
