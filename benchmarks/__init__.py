"""What `make bench` measures, each figure beside the bare limit of the same run. See README.md."""
