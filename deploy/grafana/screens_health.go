package main

func health() screen {
	return screen{Name: "cluster", Title: "Postern: is the cluster well?", Panels: []panel{
		fine("Postern(No|Node|Not|Follower|States|Disk|Store|Cert|Clock|Versions|Backup|Port|OneCopy|Mirror|MailStranded|Accept|Notices).*", "postern node list and postern node status say more."),
		{Title: "Nodes up", Kind: stat, Width: 4, Unit: "percentunit", Queries: one(`sum(min by (cluster, node) (postern_node_up`+ofCluster+`)) / count(count by (cluster, node) (postern_node_up`+ofCluster+`))`, "nodes"),
			Warn: 0.99, Bad: 0.67, Low: true, Do: "postern node list.", Pages: []string{"PosternNodeDown"}},
		{Title: "Leaders", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(postern_cluster_leads`+ofCluster+`)`, "leaders"), Warn: 0.5, Bad: 0.5, Low: true, Do: "None: nothing is accepted or sent.", Pages: []string{"PosternNoLeader"}},
		{Title: "Only one copy", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(postern_one_copy`+ofCluster+`)`, "messages"), Warn: 1, Bad: 1000, Do: "Do not stop that node now.", Pages: []string{"PosternOneCopy", "PosternMirrorBroken"}},
		{Title: "A certificate ends in", Kind: stat, Width: 4, Unit: "s", Queries: one(`min(postern_certificate_expiry_timestamp_seconds`+ofCluster+`) - time()`, "certificate"), Warn: 30 * 86400, Bad: 14 * 86400, Low: true,
			Do: "Renew the files in tls; nothing has to be restarted.", Pages: []string{"PosternCertificateEnding"}},
		{Title: "Notices waiting", Kind: stat, Width: 4, Unit: "short", Queries: one(`max(postern_notices_waiting`+ofCluster+`)`, "notices"), Warn: 1, Bad: 20, Words: map[int]string{0: "none"}, Do: "postern notices show has the last errors.", Pages: []string{"PosternNoticesWaiting"}},
		{Title: "Right to send, by node", Kind: lines, Width: 8, Unit: "short", Queries: one(`postern_cluster_lease`+ofCluster, "{{instance}}"), Do: "0: the node neither accepts nor sends.", Pages: []string{"PosternNoLease"}},
		{Title: "Log entries that followers lack", Kind: lines, Width: 8, Unit: "short", Queries: one(`max by (cluster, node) (postern_raft_follower_lag`+ofCluster+`)`, "{{node}}"), Do: "Thousands for minutes: that node's disk or line.", Pages: []string{"PosternFollowerLag"}},
		{Title: "Tenants away from home", Kind: lines, Width: 8, Unit: "short", Queries: one(`sum by (instance) (postern_tenant_away`+ofCluster+`)`, "at {{instance}}"), Do: "postern journal list says why they moved.", Pages: []string{"PosternFailover", "PosternTenantAway"}},
		{Title: "Queue's disk: one write of a hundred", Kind: lines, Width: 8, Unit: "s", Queries: quantiles("postern_queue_commit_seconds", "cluster, instance, le"), Do: "Above half a second: who else uses the disk?", Pages: []string{"PosternDiskSlow"}},
		{Title: "Log's disk: one write of a hundred", Kind: lines, Width: 8, Unit: "s", Queries: quantiles("postern_cluster_log_write_seconds", "cluster, instance, le"), Do: "As beside.", Pages: []string{"PosternDiskSlow"}},
		{Title: "Agreeing on a command", Kind: lines, Width: 8, Unit: "s", Queries: quantiles("postern_cluster_commit_seconds", "le"), Do: "Slow with fast disks: the line between the nodes."},
		{Title: "Room on the queue's disk", Kind: lines, Width: 8, Unit: "bytes", Queries: []query{{`postern_queue_free_bytes` + ofCluster, "{{instance}}"}, {`max(postern_queue_floor_bytes` + ofCluster + `)`, "floor"}},
			Do: "At the floor no mail is taken.", Pages: []string{"PosternDiskFilling", "PosternDiskFull"}},
		{Title: "Age of the oldest record a mirror lacks", Kind: lines, Width: 8, Unit: "s", Queries: one(`postern_mirror_behind_seconds`+ofCluster, "{{instance}}"), Do: "Seconds: the mirror's disk, or the line to it.", Pages: []string{"PosternMirrorBroken"}},
		{Title: "Clocks: how far from the median", Kind: lines, Width: 8, Unit: "s", Queries: []query{{`max by (cluster, node) (abs(postern_cluster_node_clock_skew_seconds` + ofCluster + `))`, "{{node}}"},
			{`abs(postern_cluster_clock_skew_seconds` + ofCluster + `) and on (cluster, instance) postern_cluster_leads` + ofCluster + ` == 1`, "leader {{instance}}"}}, Do: "Half a second: let it follow a time server.", Pages: []string{"PosternClockDrift"}},
		{Title: "Memory", Kind: lines, Width: 8, Unit: "bytes", Queries: one(`process_resident_memory_bytes{job="postern",cluster=~"$cluster"}`, "{{instance}}"), Do: "It follows the load. If it grows without, report it."},
		{Title: "Processor", Kind: lines, Width: 8, Unit: "percentunit", Queries: one(`rate(process_cpu_seconds_total{job="postern",cluster=~"$cluster"}[$__rate_interval])`, "{{instance}}"), Do: "At the number of cores: no room for a lost node's tenants; postern plan --capacity."},
		{Title: "Programs and certificates", Kind: table, Width: 8, Unit: "s", Queries: []query{{`postern_certificate_expiry_timestamp_seconds` + ofCluster + ` - time()`, "{{instance}} {{certificate}} ends in"}, {`time() - process_start_time_seconds{job="postern",cluster=~"$cluster"}`, "{{instance}} runs for"}},
			Do: "Certificates of clients: 14 days before the end at the latest.", Pages: []string{"PosternCertificateEnding", "PosternVersionsDiffer"}},
	}}
}
