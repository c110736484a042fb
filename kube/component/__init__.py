"""What every Muster process shares: start, stop, logging, TLS, metrics, timers."""
