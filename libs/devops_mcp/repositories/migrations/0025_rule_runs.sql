-- A rule may have a million runs, more than one statement may delete with it. They stay, seen by nobody, until they are as old as all runs get.
ALTER TABLE rule_runs DROP CONSTRAINT rule_runs_tenant_id_rule_id_fkey;
