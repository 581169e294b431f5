package main

const (
	ofCluster = `{cluster=~"$cluster"}`
	ofTenant  = `{cluster=~"$cluster",tenant=~"$tenant"}`
)

var listingLevels = map[int]string{0: "blind", 1: "clear", 2: "info", 3: "notice", 4: "warning", 5: "LISTED"}

func screens() []screen {
	return []screen{overview(), ofTenants(), reputation(), providers(), health()}
}

func flow(labels, by string) []query {
	rate := func(metric string) string {
		return `sum` + by + ` (rate(postern_` + metric + `_total` + labels + `[$__rate_interval]))`
	}
	return []query{{rate("accepted"), "accepted"}, {rate("delivered"), "delivered"}, {rate("deferred"), "deferred"}, {rate("bounced"), "bounced"}}
}

func overview() screen {
	return screen{Name: "overview", Title: "Postern: does mail flow?", Panels: []panel{
		fine("Postern.+", "Each alert below has a page that says what to do. Begin with the critical ones."),
		{Title: "Nodes that may send", Kind: stat, Width: 4, Unit: "percentunit", Queries: one(`sum(postern_cluster_lease`+ofCluster+`) / count(postern_cluster_lease`+ofCluster+`)`, "nodes"),
			Warn: 0.99, Bad: 0.67, Low: true, Do: "Less than all: postern node list.", Pages: []string{"PosternNoLease", "PosternNodeDown"}},
		{Title: "Delivered", Kind: stat, Width: 4, Unit: "reqps", Queries: one(`sum(rate(postern_delivered_total`+ofCluster+`[$__rate_interval]))`, "recipients"),
			Do: "Nothing while much waits: look at the last replies, postern queue list.", Pages: []string{"PosternDeliveryStuck"}},
		{Title: "Waiting", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(postern_queued`+ofCluster+`)`, "recipients"),
			Do: "Which tenant's? The panel below, then postern queue list --tenant.", Pages: []string{"PosternQueueGrowing"}},
		{Title: "Sources listed", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(max by (cluster, source) (postern_listing_listed`+ofCluster+`))`, "sources"),
			Warn: 1, Bad: 1, Do: "postern listing show ADDRESS tells the whole incident.", Pages: []string{"PosternSourceListed"}},
		{Title: "Tenants stopped", Kind: stat, Width: 4, Unit: "short",
			Queries: one(`sum(max by (cluster, tenant) (postern_tenant_paused`+ofCluster+` + postern_tenant_held`+ofCluster+` - postern_tenant_suspended`+ofCluster+` + (postern_tenant_waiting_seconds`+ofCluster+` > bool 0)) > bool 0)`, "tenants"),
			Warn:    1, Bad: 3, Do: "Paused, held or waiting: postern tenant list says why.", Pages: []string{"PosternTenantPaused", "PosternHeld", "PosternWaitingNearCap"}},
		{Title: "Recipients a second", Kind: lines, Width: 12, Unit: "reqps", Queries: flow(ofCluster, ""),
			Do: "Accepted far above delivered: the queue grows. Bounced near delivered: a tenant's list is bad.", Pages: []string{"PosternDeliveryStuck", "PosternBounceRate"}},
		{Title: "Waiting by tenant", Kind: lines, Width: 12, Unit: "short", Queries: one(`topk(10, sum by (cluster, tenant) (postern_queued`+ofCluster+`))`, "{{tenant}}"),
			Do: "One that grows alone: postern queue list --tenant shows the last replies.", Pages: []string{"PosternQueueGrowing", "PosternMailOld"}},
		{Title: "From the last byte to 250", Kind: lines, Width: 12, Unit: "s", Queries: quantiles("postern_submission_seconds", "le"),
			Do: "Slow: this disk, the mirror's disk or the line between.", Pages: []string{"PosternAcceptSlow", "PosternDiskSlow"}},
		{Title: "Firing now", Kind: table, Width: 12, Queries: one(`ALERTS{alertstate="firing",alertname=~"Postern.+",cluster=~"$cluster"}`, "{{severity}}  {{alertname}}  {{tenant}}{{source}}{{node}}{{instance}}{{zone}}"),
			Do: "Follow the name to its page."},
	}}
}

func ofTenants() screen {
	state := func(metric string) []query {
		return one(`max by (cluster, tenant) (`+metric+ofTenant+`)`, "{{tenant}}")
	}
	return screen{Name: "tenant", Title: "Postern: how is this tenant?", Tenant: true, Panels: []panel{
		{Title: "May it send?", Kind: stat, Width: 4, Queries: one(`max by (cluster, tenant) (postern_tenant_paused`+ofTenant+` + 2 * postern_tenant_held`+ofTenant+` + 6 * postern_tenant_suspended`+ofTenant+` + 4 * (postern_tenant_waiting_seconds`+ofTenant+` > bool 0))`, "{{tenant}}"),
			Warn: 1, Bad: 2, Words: map[int]string{0: "yes", 1: "paused", 2: "held", 4: "waits", 8: "suspended"}, Do: "postern tenant show TENANT has the reason, and what lifts it.", Pages: []string{"PosternTenantPaused", "PosternHeld", "PosternWaitingNearCap"}},
		{Title: "Ready to move?", Kind: stat, Width: 4, Queries: one(`min by (cluster, tenant) (postern_tenant_armed`+ofTenant+` - postern_tenant_unprepared`+ofTenant+`)`, "{{tenant}}"),
			Warn: 0.5, Bad: -0.5, Low: true, Words: map[int]string{1: "armed", 0: "not armed", -1: "unprepared"}, Do: "postern tenant show TENANT says what is missing, postern tenant dns TENANT what to publish.", Pages: []string{"PosternTenantUnprepared", "PosternTenantNotArmed"}},
		{Title: "At home?", Kind: stat, Width: 4, Queries: state("postern_tenant_away"), Warn: 1, Bad: 2, Words: map[int]string{0: "at home", 1: "at backup"},
			Do: "It goes home by itself; postern tenant show says when.", Pages: []string{"PosternTenantAway"}},
		{Title: "Month's plan spent", Kind: stat, Width: 4, Unit: "percentunit", Queries: state("postern_tenant_quota_ratio"), Warn: 0.8, Bad: 0.9,
			Do: "Near the end: sell more, or ask what it sends.", Pages: []string{"PosternQuotaNearEnd"}},
		{Title: "Oldest mail", Kind: stat, Width: 4, Unit: "s", Queries: one(`time() - min by (cluster, tenant) (postern_queue_oldest_timestamp_seconds`+ofTenant+`) or 0 * max by (cluster, tenant) (postern_queued`+ofTenant+`)`, "{{tenant}}"),
			Warn: 4 * 3600, Bad: 12 * 3600, Do: "postern queue list --tenant begins with it.", Pages: []string{"PosternMailOld"}},
		{Title: "Accounts held", Kind: stat, Width: 4, Unit: "short", Queries: state("postern_tenant_accounts_held"), Warn: 1, Bad: 1, Words: map[int]string{0: "none"},
			Do: "postern account list --tenant has the reasons.", Pages: []string{"PosternHeld"}},
		{Title: "Recipients a second", Kind: lines, Width: 12, Unit: "reqps", Queries: flow(ofTenant, ""), Do: "Much more than usual: is it the customer, or a stolen password? Hold the account."},
		{Title: "Waiting", Kind: lines, Width: 12, Unit: "short", Queries: one(`sum by (cluster, tenant) (postern_queued`+ofTenant+`)`, "{{tenant}}"), Do: "postern queue list --tenant shows the last replies.", Pages: []string{"PosternQueueGrowing"}},
		{Title: "Share that bounced in the last hour", Kind: lines, Width: 8, Unit: "percentunit", Queries: one(`tenant:postern_bounced:ratio1h`+ofTenant, "{{tenant}}"),
			Do: "Above a tenth: dead addresses. Ask where the list comes from.", Pages: []string{"PosternBounceRate"}},
		{Title: "Complaints and late bounces a day", Kind: lines, Width: 8, Unit: "short", Queries: []query{
			{`sum by (cluster, tenant) (increase(postern_complaints_total` + ofTenant + `[1d])) or 0 * sum by (cluster, tenant) (postern_queued` + ofTenant + `)`, "{{tenant}} complaints"},
			{`sum by (cluster, tenant) (increase(postern_late_bounces_total` + ofTenant + `[1d])) or 0 * sum by (cluster, tenant) (postern_queued` + ofTenant + `)`, "{{tenant}} late bounces"}},
			Do: "More than one of a thousand recipients: stop that campaign.", Pages: []string{"PosternComplaintRate"}},
		{Title: "Refused submissions a second, by reason", Kind: lines, Width: 8, Unit: "reqps", Queries: one(`sum by (reason) (rate(postern_refused_total`+ofTenant+`[$__rate_interval]))`, "{{reason}}"),
			Do: "Its programs do something wrong, or it is at a limit: the reason says which.", Pages: []string{"PosternQuotaNearEnd"}},
	}}
}

func reputation() screen {
	return screen{Name: "reputation", Title: "Postern: are our addresses well seen?", Panels: []panel{
		fine("Postern(Source|Providers|Verdict|Zone|Automation|DNS).*", "postern listing list says how each source stands."),
		{Title: "Sources listed", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(max by (cluster, source) (postern_listing_listed`+ofCluster+`))`, "sources"), Warn: 1, Bad: 1,
			Do: "postern listing show ADDRESS: who, why, what moved, where to ask for removal.", Pages: []string{"PosternSourceListed"}},
		{Title: "Heavy lists seen", Kind: stat, Width: 4, Unit: "percentunit", Queries: one(`min(postern_verdict_heavy_zones_usable`+ofCluster+`) / max(postern_verdict_heavy_zones`+ofCluster+`)`, "lists"), Warn: 0.99, Bad: 0.7, Low: true,
			Do: "Less than all: a listing there would move nobody.", Pages: []string{"PosternVerdictBlind", "PosternZoneUnusable"}},
		{Title: "Automation", Kind: stat, Width: 4, Queries: one(`min(postern_automation_on`+ofCluster+`)`, "automation"), Warn: 0.5, Bad: 0.5, Low: true, Words: map[int]string{1: "on", 0: "NOT ON"},
			Do: "postern listing automation on.", Pages: []string{"PosternAutomationOff"}},
		{Title: "Lists set aside", Kind: stat, Width: 4, Unit: "short", Queries: one(`sum(max by (cluster, zone) (postern_zone_aside`+ofCluster+`))`, "lists"), Warn: 1, Bad: 1, Words: map[int]string{0: "none"},
			Do: "It lists the world: it counts nothing until it is calm.", Pages: []string{"PosternZoneAside"}},
		{Title: "Faults in the DNS", Kind: stat, Width: 4, Unit: "short", Queries: one(`max(postern_dns_wrong`+ofCluster+`)`, "faults"), Warn: 1, Bad: 10, Do: "postern doctor names each with its mend.", Pages: []string{"PosternDNSWrong"}},
		{Title: "How each source stands", Kind: table, Width: 12, Queries: one(`source:postern_listing_level:max`+ofCluster, "{{source}}"), Words: listingLevels, Warn: 3, Bad: 4,
			Do: "notice and warning: look now, before it is listed.", Pages: []string{"PosternSourceSuspicious", "PosternSourceListed"}},
		{Title: "Level of each source (4: warning, 5: listed)", Kind: lines, Width: 12, Unit: "short", Queries: one(`source:postern_listing_level:max`+ofCluster, "{{source}}"),
			Do: "A source that comes and goes has a cause that was not stopped.", Pages: []string{"PosternSourceListed"}},
		{Title: "Providers that refuse a source", Kind: lines, Width: 12, Unit: "short", Queries: one(`max by (cluster, source) (postern_source_refusing_providers`+ofCluster+`)`, "{{source}}"),
			Do: "One: use its form. Three: evidence of a listing.", Pages: []string{"PosternProvidersRefuse"}},
		{Title: "Refusals because of our IP a second", Kind: lines, Width: 12, Unit: "reqps", Queries: one(`sum by (provider) (rate(postern_delivery_ip_refused_total`+ofCluster+`[$__rate_interval]))`, "{{provider}}"),
			Do: "postern listing show ADDRESS has the words.", Pages: []string{"PosternProvidersRefuse"}},
		{Title: "Answers of lists a second", Kind: lines, Width: 12, Unit: "reqps", Queries: one(`sum by (outcome) (rate(postern_dnsbl_queries_total`+ofCluster+`[$__rate_interval]))`, "{{outcome}}"),
			Do: "refused or unknown: the resolver of a node, or the list's limit.", Pages: []string{"PosternZoneUnusable"}},
		{Title: "Lists a node can believe", Kind: lines, Width: 12, Unit: "short", Queries: one(`sum by (instance) (postern_dnsbl_zone_usable`+ofCluster+`)`, "{{instance}}"),
			Do: "One node below the others: its resolver.", Pages: []string{"PosternZoneUnusable"}},
	}}
}

func providers() screen {
	latency := quantiles("postern_delivery_latency_seconds", "le")
	return screen{Name: "providers", Title: "Postern: does each provider take our mail?", Panels: []panel{
		fine("Postern(Providers|DeliveryStuck|MailOld|QueueGrowing|InDoubt|BounceRate|SourceMissing).*", "postern queue list shows the last replies of what waits."),
		{Title: "Delivered at the attempt", Kind: stat, Width: 5, Unit: "percentunit", Queries: one(`sum(rate(postern_delivery_recipients_total{cluster=~"$cluster",outcome="delivered"}[$__rate_interval])) / sum(rate(postern_delivery_recipients_total`+ofCluster+`[$__rate_interval]))`, "recipients"),
			Warn: 0.8, Bad: 0.5, Low: true, Do: "Which provider? The panels below.", Pages: []string{"PosternDeliveryStuck"}},
		{Title: "Sites left alone", Kind: stat, Width: 5, Unit: "short", Queries: one(`sum(postern_delivery_backed_off_sites`+ofCluster+`)`, "sites"),
			Do: "Hosts that failed and are tried later. Many at once: DNS, or the way out on port 25.", Pages: []string{"PosternDeliveryStuck"}},
		{Title: "Open connections", Kind: stat, Width: 5, Unit: "short", Queries: one(`sum(postern_delivery_connections`+ofCluster+`)`, "connections"), Do: "None while mail waits: PosternNoLease or PosternSourceMissing.", Pages: []string{"PosternSourceMissing"}},
		{Title: "In doubt within the hour", Kind: stat, Width: 5, Unit: "short", Queries: one(`sum(increase(postern_in_doubt_total`+ofCluster+`[1h]))`, "recipients"), Warn: 20, Bad: 100, Do: "Connections break after the last byte.", Pages: []string{"PosternInDoubt"}},
		{Title: "Recipients a second, by provider and outcome", Kind: lines, Width: 12, Unit: "reqps", Queries: one(`sum by (provider, outcome) (rate(postern_delivery_recipients_total`+ofCluster+`[$__rate_interval]))`, "{{provider}} {{outcome}}"),
			Do: "deferred above delivered: the provider slows us down or refuses.", Pages: []string{"PosternProvidersRefuse"}},
		{Title: "Share of attempts that did not deliver", Kind: lines, Width: 12, Unit: "percentunit",
			Queries: one(`1 - (sum by (provider) (rate(postern_delivery_recipients_total{cluster=~"$cluster",outcome="delivered"}[$__rate_interval])) / (sum by (provider) (rate(postern_delivery_recipients_total`+ofCluster+`[$__rate_interval])) > 0))`, "{{provider}}"),
			Do:      "One provider alone: its form or postmaster desk. All: our side.", Pages: []string{"PosternProvidersRefuse", "PosternDeliveryStuck"}},
		{Title: "Refusals because of our IP a second", Kind: lines, Width: 12, Unit: "reqps", Queries: one(`sum by (provider) (rate(postern_delivery_ip_refused_total`+ofCluster+`[$__rate_interval]))`, "{{provider}}"),
			Do: "postern listing show ADDRESS has the words.", Pages: []string{"PosternProvidersRefuse"}},
		{Title: "Open connections by provider", Kind: lines, Width: 12, Unit: "short", Queries: one(`sum by (provider) (postern_delivery_connections`+ofCluster+`)`, "{{provider}}"), Do: "At its limit for long: what waits for this provider takes its time."},
		{Title: "One transaction", Kind: lines, Width: 12, Unit: "s", Queries: quantiles("postern_delivery_attempt_seconds", "le"), Do: "Slow hosts, or a slow line."},
		{Title: "From acceptance to delivery", Kind: lines, Width: 12, Unit: "s", Queries: latency, Do: "Minutes: greylisting. Hours: deferrals.", Pages: []string{"PosternMailOld"}},
	}}
}
