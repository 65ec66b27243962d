-- Where pollers had got to is forgotten by the worker once they have not looked for long: their integration is gone.
GRANT DELETE ON pollers TO devops_mcp_worker;
