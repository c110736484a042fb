"""`python -m master.apiserver`."""

from master.apiserver.main import main

raise SystemExit(main())
