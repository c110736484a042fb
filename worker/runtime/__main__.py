from worker.runtime.main import main

raise SystemExit(main())
