from muster.cli.main import main

raise SystemExit(main())
