"""Views, one file per group of API calls. Each reads the request, calls a service and shapes the response."""
