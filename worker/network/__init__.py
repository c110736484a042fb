"""The node network agent: this machine's CNI configuration, and routes to other machines' pods.

`plan` decides (pure), `kernel` runs ip, iptables and sysctl, `agent` brings them together.
"""
