"""Our store beside stock etcd: three members each, in one run, round by round."""
