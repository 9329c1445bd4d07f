"""The request budget: never more requests than the provider allows, shared by all processes through Redis."""
