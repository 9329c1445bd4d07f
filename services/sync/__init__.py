"""Keep our copy of each subscription equal to the provider's."""
