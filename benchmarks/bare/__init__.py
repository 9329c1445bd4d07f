"""The baselines: what the libraries do by themselves. These files import nothing of the service."""
