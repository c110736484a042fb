from muster.main import main

raise SystemExit(main())
