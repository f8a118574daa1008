"""HTTP faces of the services: they parse, check shapes, call a service and render. Never the broker."""
