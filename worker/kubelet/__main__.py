from worker.kubelet.main import main

raise SystemExit(main())
