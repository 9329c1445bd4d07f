"""Seat changes at the provider: preview, confirm, settle, cancel, and automatic purchases."""
