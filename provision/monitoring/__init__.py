"""What watches a lab: what to scrape, the rules over it, and a Prometheus on this host."""
