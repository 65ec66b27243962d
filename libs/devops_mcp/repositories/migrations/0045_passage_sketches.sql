-- A vector in three bits a dimension: whether its value is above 0, and above or below what is usual. As many bits as two sketches differ in, as far
-- are their vectors apart, nearly. (On vectors of manual pages, 500 of 10,000 chosen so hold .999 of the 60 that are the nearest.)
CREATE FUNCTION sketch(vector halfvec) RETURNS varbit LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (SELECT binary_quantize(vector - usual)::varbit || binary_quantize(vector)::varbit || binary_quantize(vector + usual)::varbit
            FROM (SELECT array_fill((0.6 * l2_norm(vector) / sqrt(vector_dims(vector)))::real, ARRAY[vector_dims(vector)])::halfvec AS usual) AS u);

-- What the passages of one context are compared by first: a fifth of what a passage takes, side by side, so that a thousand cost little to read.
-- A row follows its passage's vector. It goes with the context, as its passages do.
CREATE TABLE passage_sketches (
    tenant_id  uuid NOT NULL DEFAULT current_tenant(),
    context_id uuid NOT NULL,
    passage_id uuid NOT NULL,
    space      text NOT NULL,
    sketch     varbit NOT NULL,
    PRIMARY KEY (tenant_id, context_id, passage_id) INCLUDE (space, sketch),
    FOREIGN KEY (tenant_id, context_id) REFERENCES contexts ON DELETE CASCADE
);
ALTER TABLE passage_sketches ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON passage_sketches USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
GRANT SELECT, INSERT, UPDATE, DELETE ON passage_sketches TO devops_mcp_app, devops_mcp_worker;

CREATE FUNCTION keep_sketch() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.passage_sketches (tenant_id, context_id, passage_id, space, sketch)
        VALUES (NEW.tenant_id, NEW.context_id, NEW.id, NEW.space, public.sketch(NEW.embedding))
        ON CONFLICT (tenant_id, context_id, passage_id) DO UPDATE SET space = EXCLUDED.space, sketch = EXCLUDED.sketch;
    RETURN NULL;
END $$;
CREATE TRIGGER sketch AFTER INSERT OR UPDATE OF space, embedding ON passages
    FOR EACH ROW WHEN (NEW.context_id IS NOT NULL AND NEW.embedding IS NOT NULL) EXECUTE FUNCTION keep_sketch();
