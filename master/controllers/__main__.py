from master.controllers.main import main

raise SystemExit(main())
