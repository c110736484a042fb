"""`muster-state-metrics`: what the API's objects say, as kube-state-metrics' series.

A client of the api-server like any other: informers in, text for Prometheus out.
"""
