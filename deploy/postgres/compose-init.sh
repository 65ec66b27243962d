#!/bin/bash
# Run by the PostgreSQL image on an empty data folder: the roles, with the passwords of docker-compose.yml.
set -euo pipefail
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    -v owner_password=development -v rest_password=development -v mcp_password=development -v work_password=development \
    -f /deploy/roles.sql
