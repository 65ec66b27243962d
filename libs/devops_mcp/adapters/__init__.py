"""One folder a DevOps system. `base.py` is what an adapter is made of, `upstream.py` how it calls out, `registry.py` which there are."""
