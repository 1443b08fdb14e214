"""Several processes as one job: collectives and data parallelism."""
