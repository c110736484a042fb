from worker.kubelet.start import main

raise SystemExit(main())
