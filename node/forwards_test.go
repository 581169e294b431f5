package node

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/node/lab"
	"postern/node/queue"
	"postern/tenant"
)

// counted is a counter of a node's for the tenant shoes.
func (c *several) counted(i int, name string) float64 {
	c.t.Helper()
	text := c.scraped(i)
	m := regexp.MustCompile(`(?m)^` + name + `\{tenant="shoes"\} (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// scraped is what a node's metrics port says.
func (c *several) scraped(i int) string {
	c.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s/metrics", c.cfgs[i].Metrics))
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// lateReply is a cluster whose first exchanger says 250 for the first mail only
// when the test lets it; the tenant's home is drained meanwhile, and owned by
// its backup when the test gets it.
func lateReply(t *testing.T, grace time.Duration) (c *several, shoes tenant.ID, reply func()) {
	var first atomic.Bool
	gate := make(chan struct{})
	reply = sync.OnceFunc(func() { close(gate) })
	c = &several{t: t, grace: grace, quiesce: 50 * time.Millisecond, replies: func(*lab.Mail) {
		if first.CompareAndSwap(false, true) {
			<-gate
		}
	}}
	c.form(3, func(_ int, cfg *Config) { cfg.Metrics = unused(t) })
	t.Cleanup(reply) // before the lab and the nodes end
	shoes, who := c.prepare(0, 1)
	c.settled(shoes, 0, 1)
	await(t, "what the leader knows of clocks, and certificates", func() bool {
		text := c.scraped(0) + c.scraped(1) + c.scraped(2)
		return strings.Count(text, "\npostern_cluster_node_clock_skew_seconds{") == 2 &&
			strings.Count(text, `postern_certificate_expiry_timestamp_seconds{certificate="node"}`) == 3
	})
	if n := c.send(0, 1, who); n != 1 {
		t.Fatal("not taken")
	}
	await(t, "the dot", func() bool { return c.total() == 1 })
	draining := true
	c.propose(1, tenant.SetNode{Node: c.nodes[0].id(), Draining: &draining})
	await(t, "the handover", func() bool {
		n := c.nodes[1]
		x := n.cluster.State().Tenant(shoes)
		return x.Owner == n.id() && n.owned.epoch(shoes) == x.Epoch
	})
	if st := c.nodes[1].cluster.State().Tenant(shoes); len(st.Waiting) != 1 {
		t.Fatalf("released with %v awaiting a reply", st.Waiting)
	}
	return c, shoes, reply
}

// TestAReplyAfterTheHandover: it goes to the new owner, so that the message is
// not sent again, and nothing is in doubt.
func TestAReplyAfterTheHandover(t *testing.T) {
	c, shoes, reply := lateReply(t, time.Minute)
	at := func(i int) queue.Counts { return c.nodes[i].queue.Count()[shoes] }
	if n := at(1); n != (queue.Counts{Queued: 1, Messages: 1, InDoubt: 1}) {
		t.Fatalf("the new owner has %+v", n)
	}
	reply()
	await(t, "the outcome at the new owner", func() bool { return at(1) == queue.Counts{} })
	await(t, "the delivery counted", func() bool { return c.counted(0, "postern_delivered_total") == 1 })
	c.delivered(1)
	for i := range c.nodes {
		if n := c.counted(i, "postern_in_doubt_total"); n != 0 {
			t.Errorf("node %d counts %v in doubt", i+1, n)
		}
		if n := c.counted(i, "postern_delivered_total"); i > 0 && n != 0 {
			t.Errorf("node %d counts %v delivered", i+1, n)
		}
	}
}

// TestNoReplyAfterTheHandover: when the grace is over and the former owner has
// said nothing, the message is sent again and counted in doubt. What the former
// owner hears later changes nothing.
func TestNoReplyAfterTheHandover(t *testing.T) {
	c, shoes, reply := lateReply(t, 2*time.Second)
	await(t, "the second delivery", func() bool { return c.counted(1, "postern_delivered_total") == 1 })
	if n := c.counted(1, "postern_in_doubt_total"); n != 1 {
		t.Errorf("%v in doubt", n)
	}
	_, more := c.nodes[0].queue.ToForward()
	reply()
	<-more
	await(t, "that the former owner gives up", func() bool {
		left, _ := c.nodes[0].queue.ToForward()
		return len(left) == 0
	})
	if _, twice := c.arrived(); c.total() != 2 || twice != 1 {
		t.Errorf("%d mails, %d twice", c.total(), twice)
	}
	if n := c.nodes[1].queue.Count()[shoes]; n != (queue.Counts{}) {
		t.Errorf("the new owner has %+v", n)
	}
	if n := c.counted(0, "postern_delivered_total"); n != 0 {
		t.Errorf("the former owner counts %v delivered", n)
	}
}
