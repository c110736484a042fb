"""`python -m worker.proxy`."""

from worker.proxy.main import main

raise SystemExit(main())
