"""Webhooks: the events that a change causes, and their signed delivery with retries."""
