from master.statemetrics.main import main

raise SystemExit(main())
