"""The mode `nftables`: Services as kube-proxy's own table, `ip kube-proxy` (KEP-3866).

Maps lead from a Service's address to its chain, so a packet costs the same with ten services and
with ten thousand, and a change touches what is the service's own. `names`, `rules`, `table`,
`listing` and `changes` are pure; `writer` runs nft.
"""
