-- An endpoint may have a million deliveries, more than one statement may delete with it. They stay, seen by nobody, until the worker's upkeep has removed
-- them. A worker of before this buries what was still to be sent there, as it is sure of an endpoint.
ALTER TABLE webhook_deliveries DROP CONSTRAINT webhook_deliveries_tenant_id_endpoint_id_fkey;
