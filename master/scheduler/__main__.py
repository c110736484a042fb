from master.scheduler.main import main

raise SystemExit(main())
