-- Those of the vectors that were there before 0045, in a transaction that keeps no writer of passages waiting.
DO $$
DECLARE
    tenant uuid;
BEGIN
    FOR tenant IN SELECT t.tenant_id FROM tenants AS t LOOP
        PERFORM set_config('app.tenant', tenant::text, true);
        INSERT INTO passage_sketches (tenant_id, context_id, passage_id, space, sketch)
            SELECT p.tenant_id, p.context_id, p.id, p.space, sketch(p.embedding) FROM passages AS p
            WHERE p.tenant_id = tenant AND p.context_id IS NOT NULL AND p.space IS NOT NULL AND p.embedding IS NOT NULL
            ON CONFLICT DO NOTHING;
    END LOOP;
    PERFORM set_config('app.tenant', '', true);
END $$;
