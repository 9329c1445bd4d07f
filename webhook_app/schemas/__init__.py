"""Pydantic models of requests and responses, one file per group of API calls."""
