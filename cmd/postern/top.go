package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"postern/node/admin"
)

// overview is what one look of top shows.
type overview struct {
	Status  admin.Status   `json:"status"`
	Cluster admin.Cluster  `json:"cluster"`
	Nodes   []admin.Node   `json:"nodes"`
	Tenants []admin.Tenant `json:"tenants"`
	Grants  int            `json:"grants"` // live
	Missing []string       `json:"missing,omitempty"`
}

func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	var times int
	c := &cobra.Command{
		Use: "top", Short: "Watch the cluster: nodes, tenants, queues, grants, copies",
		Long: `Watch the cluster. The first line says whether it is fine, and if not, what to
do. On a terminal the screen is refreshed until Ctrl-C; otherwise one look is
written, or --times of them, as plain lines.`,
		Example: "  postern top\n  postern top --times 5 --every 2s | grep -v fine",
		Args:    named("top"),
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond || times < 0 {
			return usagef("--every is 100ms or more, --times is not negative")
		}
		cl, err := a.client()
		if err != nil {
			return err
		}
		defer cl.Close()
		live := isTerminal(a.out)
		if times == 0 && (!live || a.json) {
			times = 1
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return a.top(ctx, cl, every, times, live && !a.json && times == 0)
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how often to look")
	c.Flags().IntVar(&times, "times", 0, "how many looks, then end (default: for ever on a terminal, else 1)")
	return c
}

func isTerminal(out any) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// top looks again and again. A node that cannot be reached is an end only when
// nobody watches: on a terminal it is what there is to see.
func (a *app) top(ctx context.Context, c *admin.Client, every time.Duration, times int, live bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		o, err := look(ctx, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !live:
			return err
		case err != nil:
			fmt.Fprintf(a.out, "\x1b[H\x1b[2JNOT FINE: %s\n", clean(err.Error()))
		case a.json:
			if err := a.show(o, nil); err != nil {
				return err
			}
		default:
			if live {
				fmt.Fprint(a.out, "\x1b[H\x1b[2J")
			}
			a.overview(o, topLines(a.out, live))
		}
		if n == times {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// topLines is how many lines a screen has for tenants; 0 is all.
func topLines(out any, live bool) int {
	f, ok := out.(*os.File)
	if !live || !ok {
		return 0
	}
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row < 10 {
		return 0
	}
	return int(ws.Row)
}

func look(ctx context.Context, c *admin.Client) (overview, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var o overview
	var err error
	if o.Cluster, err = c.Cluster(ctx); err != nil {
		return o, err
	}
	if o.Status, err = c.Status(ctx); err != nil {
		return o, err
	}
	nodes, err := c.Nodes(ctx, admin.List{Limit: 1000})
	if err != nil {
		return o, err
	}
	tenants, err := c.Tenants(ctx, admin.List{Limit: 1000})
	if err != nil {
		return o, err
	}
	use, err := c.Usage(ctx, "", "", admin.List{Limit: 1000})
	if err != nil {
		return o, err
	}
	for _, u := range use.Items {
		if u.Granted {
			o.Grants++
		}
	}
	o.Nodes, o.Tenants, o.Missing = nodes.Items, tenants.Items, tenants.Missing
	return o, nil
}

// verdict is the first line: is it fine, and if not, what do I do.
func verdict(o overview) (text, mend string) {
	for _, r := range o.Status.Reasons {
		if r.Stops {
			return "NOT FINE: " + r.Text, r.Mend
		}
	}
	if len(o.Missing) > 0 {
		return "NOT FINE: no answer from " + strings.Join(o.Missing, ", "), "is it up? what it owns is missing below"
	}
	if n := len(o.Status.Reasons); n > 0 {
		first := o.Status.Reasons[0]
		text := "takes care: " + first.Text
		if n > 1 {
			text += fmt.Sprintf(" (and %d more: postern node status)", n-1)
		}
		return text, first.Mend
	}
	return "fine: all accept and send mail", ""
}

func (a *app) overview(o overview, lines int) {
	text, mend := verdict(o)
	a.note("", text, mend)
	queued, doubt := 0, 0
	for _, t := range o.Tenants {
		queued += value(t.Queued)
		doubt += value(t.InDoubt)
	}
	age := "unknown age"
	switch {
	case o.Cluster.Alone:
		age = "now"
	case o.Cluster.AgeMS != nil:
		age = span(millis(*o.Cluster.AgeMS)) + " ago"
	}
	a.say("%s at %s, as of %s: %s queued, %s in doubt, %s", a.now().UTC().Format("15:04:05"), clean(o.Cluster.Node), age,
		count(queued), count(doubt), some(o.Grants, "live grant"))
	a.topNodes(o)
	a.topTenants(o, lines-8-len(o.Nodes))
}

func value(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func (a *app) topNodes(o overview) {
	t := newTable("NODE~", "ROLE", "LEASE", "STATE", "LAG>", "RTT>", "TENANTS>", "SOURCES>")
	for _, n := range o.Nodes {
		t.row(nodeRow(n)...)
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
}

func nodeRow(n admin.Node) []string {
	lag, rtt, role, tenants := "-", "-", n.Role, count(n.Tenants)
	if n.Lag != nil {
		lag = count(*n.Lag)
	}
	if n.RTTMS != nil {
		rtt = span(millis(*n.RTTMS))
	}
	if n.Witness {
		role, tenants = n.Role+", witness", "-"
	}
	return []string{n.Name, role, n.Lease, n.State, lag, rtt, tenants, count(n.Sources)}
}

// topTenants shows all, or as many as there is room for: those with something
// to say first.
func (a *app) topTenants(o overview, most int) {
	if len(o.Tenants) == 0 {
		return
	}
	var telling, quiet []admin.Tenant
	for _, t := range o.Tenants {
		if t.State != "sending" || value(t.Queued) > 0 || value(t.InDoubt) > 0 || len(t.NotArmed) > 0 || t.To != "" || (t.Mirror != nil && !complete(t.Mirror)) {
			telling = append(telling, t)
		} else {
			quiet = append(quiet, t)
		}
	}
	shown := append(telling, quiet...)
	left := 0
	if most > 0 && len(shown) > most {
		left = len(shown) - most
		shown = shown[:most]
	}
	t := newTable("TENANT~", "STATE", "OWNER~", "EPOCH>", "COPY~", "ARMED", "QUEUED>", "DOUBT>")
	for _, x := range shown {
		queued, doubt, armed := "-", "-", "yes"
		if x.Queued != nil {
			queued = count(*x.Queued)
		}
		if x.InDoubt != nil {
			doubt = count(*x.InDoubt)
		}
		if len(x.NotArmed) > 0 {
			armed = "NO"
		}
		owner := x.Owner
		if x.To != "" {
			owner += ">" + x.To
		}
		t.row(x.Name, x.State, owner, epochText(x.Epoch), copyText(x.Mirror), armed, queued, doubt)
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	if left > 0 {
		a.say("and %s with nothing to tell", some(left, "more tenant"))
	}
}

func complete(m *admin.Mirror) bool { return m.Node == "" || !m.Known || (m.Synced && m.BrokenMS == 0) }

// epochText leaves out how often the cluster was restored, which is in the high
// 16 bits, unless it was.
func epochText(e uint64) string {
	if high := e >> 48; high > 0 {
		return fmt.Sprintf("%d/%d", high, e&(1<<48-1))
	}
	return count(e)
}

func copyText(m *admin.Mirror) string {
	switch {
	case m == nil || m.Node == "":
		return "none"
	case m.BrokenMS > 0:
		return m.Node + " broken " + span(millis(m.BrokenMS))
	case m.Known && !m.Synced:
		return m.Node + " -" + count(m.Left)
	}
	return m.Node
}
