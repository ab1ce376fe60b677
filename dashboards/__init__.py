"""What people look at: the built-in web pages and the Grafana dashboards."""
