package main

// kind is how a panel shows what its queries give.
type kind int

const (
	stat  kind = iota // the newest value, large
	lines             // values over time
	table             // one row a series, newest first
)

// screen is one dashboard: a question, and panels that answer it.
type screen struct {
	Name   string // of its files
	Title  string // the question
	Tenant bool   // has a variable for tenants
	Panels []panel
}

// panel is one part of a screen. Its width is in 24ths.
type panel struct {
	Title   string
	Kind    kind
	Width   int
	Unit    string // of Grafana: short, percentunit, s, bytes, reqps, bool
	Queries []query
	// From Warn on a stat is amber, from Bad on red; both 0: always plain. With
	// Low the small values are the bad ones.
	Warn, Bad float64
	Low       bool
	// Words stand for values of a stat or a cell, such as 0: "no".
	Words map[int]string
	Do    string   // what to do when it is not fine
	Pages []string // runbooks that say more
}

// query is one PromQL expression; Legend names its series, as Grafana's
// {{label}}. $cluster and $tenant stand for what is chosen, $__rate_interval for
// what Grafana finds right.
type query struct{ Expr, Legend string }

// runbooks is where the pages are served; the operator puts his own address there,
// as in alerts.yml.
const runbooks = "https://runbooks.relay.example"

func one(expr, legend string) []query { return []query{{expr, legend}} }

// firing counts alerts; nothing fires is 0, not nothing.
func firing(names string) []query {
	return one(`count(ALERTS{alertstate="firing",severity!="info",alertname=~"`+names+`",cluster=~"$cluster"}) or vector(0)`, "alerts")
}

// fine is the first panel of each screen.
func fine(names, do string) panel {
	return panel{Title: "Alerts", Kind: stat, Width: 4, Unit: "short", Queries: firing(names), Warn: 1, Bad: 1, Words: map[int]string{0: "fine"}, Do: do}
}

func quantiles(metric, by string) []query {
	q := func(share string) string {
		return `histogram_quantile(` + share + `, sum by (` + by + `) (rate(` + metric + `_bucket{cluster=~"$cluster"}[$__rate_interval])))`
	}
	if by != "le" {
		return one(q("0.99"), "{{instance}}")
	}
	return []query{{q("0.5"), "half"}, {q("0.95"), "19 of 20"}, {q("0.99"), "99 of 100"}}
}
