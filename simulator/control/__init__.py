"""The control API: how a test or a person plays the provider. Every file offers `routes(world)`."""
