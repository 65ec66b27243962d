"""What Redis does for us: small notices between replicas. Nothing that must not be lost lives here."""
