from worker.network.main import main

raise SystemExit(main())
