"""The memory: tables and their questions, the seat ledger, the seat cache."""
