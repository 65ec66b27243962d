-- The roles that the migrations and the services expect. Run once per cluster as a superuser, before the first 'devops-mcp db migrate'.
-- With psql: psql -v owner_password=… -v rest_password=… -v mcp_password=… -v work_password=… -f roles.sql
CREATE ROLE devops_mcp_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE ROLE devops_mcp_worker NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE ROLE devops_mcp_owner LOGIN PASSWORD :'owner_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE ROLE devops_mcp_rest LOGIN PASSWORD :'rest_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS IN ROLE devops_mcp_app;
CREATE ROLE devops_mcp_mcp LOGIN PASSWORD :'mcp_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS IN ROLE devops_mcp_app;
CREATE ROLE devops_mcp_work LOGIN PASSWORD :'work_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS IN ROLE devops_mcp_worker;
CREATE DATABASE devops_mcp OWNER devops_mcp_owner;
REVOKE ALL ON DATABASE devops_mcp FROM PUBLIC;
GRANT CONNECT ON DATABASE devops_mcp TO devops_mcp_app, devops_mcp_worker;
\connect devops_mcp
CREATE EXTENSION vector;
