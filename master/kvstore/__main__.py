"""`python -m master.kvstore`: one member's process."""

import gc

gc.disable()  # what is imported stays: looking through it again and again takes a tenth of the time
from master.kvstore.main import main  # noqa: E402 - that is the import which is meant

gc.enable()
raise SystemExit(main())
