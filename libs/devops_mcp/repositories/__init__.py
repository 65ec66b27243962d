"""PostgreSQL: the pool, the tenant-scoped transaction, and one file an aggregate. Nothing else of ours speaks SQL."""
