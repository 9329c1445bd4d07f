"""Importing members: read and checked whole, sorted by account on disk, then seated batch by batch."""
