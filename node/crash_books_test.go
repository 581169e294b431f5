package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/node/lab"
)

// books hold what the world outside knows: what clients were told, and what
// arrived. A power cut shuts them for a moment, so that what they say about the
// time before it is exact.
type books struct {
	ledger *lab.Ledger

	mu    sync.Mutex // guards what follows; held while a cut is made
	dark  bool       // the power is off: what is left of the old node does not count
	since time.Time  // of the last power on
	runs  []lab.RunID
	acked map[string]uint64 // recipients that got a 250, by account
	maybe map[lab.Key]string
	heard map[lab.Key][]time.Time // arrivals
	ended map[lab.Key]bool        // arrived or bounced
	names map[lab.Key]string
	fault string
}

func newBooks() *books {
	return &books{
		ledger: lab.NewLedger(0), acked: map[string]uint64{}, maybe: map[lab.Key]string{},
		heard: map[lab.Key][]time.Time{}, ended: map[lab.Key]bool{}, names: map[lab.Key]string{},
	}
}

func (b *books) newRun() lab.RunID {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := lab.NewRunID()
	b.runs = append(b.runs, id)
	return id
}

func (b *books) powerOn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dark, b.since = false, time.Now()
}

func (b *books) cut(picture func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	picture()
	b.dark = true
}

// sent books what a client was told. A client that is told something after the
// cut would in truth have heard nothing; only a 5xx still says that the message
// was never kept.
func (b *books) sent(s *lab.Submission) {
	b.mu.Lock()
	defer b.mu.Unlock()
	late := b.dark || s.At.Before(b.since)
	for i, rcpt := range s.Rcpts {
		if late && s.Verdict[i] != lab.Refused {
			s.Verdict[i] = lab.Unknown
		}
		switch k := lab.KeyOf(s.UID, rcpt); s.Verdict[i] {
		case lab.Accepted:
			b.acked[s.From]++
		case lab.Unknown:
			b.maybe[k] = s.From
		}
	}
	lab.Record(b.ledger, s)
}

// take books what an exchanger took, before the exchanger says so.
func (b *books) take(m *lab.Mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dark {
		return
	}
	if m.Bare > 0 || m.Early {
		b.fault = fmt.Sprintf("%s to %v: %d bare line ends, early %v", m.MX, m.Rcpts, m.Bare, m.Early)
	}
	if !slices.ContainsFunc(b.runs, func(run lab.RunID) bool { return lab.Book(b.ledger, run, m) }) {
		return
	}
	if uid, ok := m.ID(); ok {
		for _, rcpt := range m.Rcpts {
			k := lab.KeyOf(uid, rcpt)
			b.heard[k] = append(b.heard[k], m.At)
			b.ended[k], b.names[k] = true, rcpt
		}
		return
	}
	n, _ := lab.ReadNotice(m.Text)
	uid, _ := lab.ParseUID(n.UID)
	for _, f := range n.Failed {
		b.ended[lab.KeyOf(uid, f.Addr)] = true
	}
}

// spent says how much each account must have spent at least, for what was
// acknowledged, and at most, with what got no answer.
func (b *books) spent(account string) (least, most uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	least = b.acked[account]
	most = least
	for _, a := range b.maybe {
		if a == account {
			most++
		}
	}
	return least, most
}

// spentInAll is what an account spent once all has ended: what got no answer
// was kept if it arrived or bounced.
func (b *books) spentInAll(account string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := b.acked[account]
	for k, a := range b.maybe {
		if a == account && b.ended[k] {
			sum++
		}
	}
	return sum
}

// doubles counts repeated arrivals: all, those that each cut explains because it
// came between the dot and the synced outcome, and lists those nothing explains.
// oldest is how long before its cut such a message had arrived at most.
func (b *books) doubles(cuts []powerCut) (all int, byCut []int, oldest time.Duration, unexcused []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byCut = make([]int, len(cuts))
	for k, times := range b.heard {
		slices.SortFunc(times, time.Time.Compare)
		for i, t := range times[:len(times)-1] {
			all++
			next := slices.IndexFunc(cuts, func(c powerCut) bool { return t.Before(c.at) })
			switch {
			case i == 0 && strings.HasSuffix(b.names[k], "@forgetful.test"):
			case next >= 0 && cuts[next].at.Sub(t) < 2*time.Second:
				byCut[next]++
				oldest = max(oldest, cuts[next].at.Sub(t))
			default:
				unexcused = append(unexcused, fmt.Sprintf("%s at %v", b.names[k], times))
			}
		}
	}
	return all, byCut, oldest, unexcused
}
