"""Requests and responses: one file per group of API calls."""
