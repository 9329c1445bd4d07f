"""HTTP in, HTTP out. `webhook_app.app.create_app` makes the application."""
