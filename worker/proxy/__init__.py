"""kube-proxy: Services as iptables rules on every machine.

`serviceports` and `endpoints` read API objects, `rules` and `ruleset` render them, `restore`
compares what is with what shall be: all pure. `syncer` drives them through `iptables` and
`conntrack`; `main` wires it to the api-server.
"""
