"""The HTTP API. `webhook_app.app.create_app` builds the Flask application."""
