from master.kvstore.main import main

raise SystemExit(main())
