"""What `muster drill new` writes: a drill of one's own to start from, explained."""

SKELETON = """\
# A drill of your own. `muster drill validate FILE` checks it, `muster drill run FILE` runs it.
# Every field is explained in docs/drill.schema.json; faults, phases and figures in docs/drills.md.
apiVersion: muster/v1
kind: Drill
metadata:
  name: my-drill
  description: What happens, in a sentence.
spec:
  learn: What to look for, and what to learn from it.
  # The Service that is asked all the time, and whose pods are followed. default/hello is brought
  # along when the lab does not run it.
  workload: default/hello
  load:
    requestsPerSecond: 20
    apiWritesPerSecond: 5        # 0: no writes to the API
  steadyState:                   # must hold before, and again at the end
    goodRequests: 20
    probes:
      - {probe: condition, name: hello_available, kind: Deployment, object: default/hello,
         condition: Available}
      # - {probe: http, name: web, url: "http://10.200.0.11:30080/", contains: hello}
      # - {probe: promql, name: scraped, query: 'up{job="kubelet"} == 1'}
  order: sequence                # or parallel
  faults:
    - fault: freeze              # docs/drills.md lists all
      target:
        role: worker             # or names, labels, zone, leaderOf: store ...
        pick: most-pods          # or first, random, all; with count or percent
      delaySeconds: 1
      durationSeconds: 3         # left out: until the recovery was seen
      # repeat: 3
      # pauseSeconds: 5
      limitSeconds: 60           # it ends by then, whatever happens to the drill
  recovery:                      # waited for while the fault lasts, or after it has acted
    phases: [fault, service_answers]
    timeoutSeconds: {fast: 60, kubernetes: 600}
    settleSeconds: 2
  wayBack:                       # waited for after it was taken back
    phases: [healed, good_after_heal]
    timeoutSeconds: {fast: 60, kubernetes: 600}
  levels:                        # what is not measured is not met
    - {metric: evicted_pods, max: 0}
    - {metric: failed_request_percent, max: 40, severity: warn}
  abort:                         # end at once, and take the faults back
    - {metric: longest_outage_seconds, max: 30}
  guard:                         # what would take more is refused before it begins
    maxMachinesPercent: 50
    allowQuorumLoss: false
    allowLastReplica: false
"""
