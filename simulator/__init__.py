"""A simulator of the billing provider. It is a separate program and is used only over HTTP."""
