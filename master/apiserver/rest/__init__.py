"""The users' front end: Kubernetes REST over HTTPS, as kubectl and client libraries speak it."""
