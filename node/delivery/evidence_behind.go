package delivery

import (
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// refuser is a provider that refused a source within the window.
type refuser struct {
	source   tenant.SourceID
	provider string
}

// refusers names them.
func (e *evidence) refusers(now time.Time) map[refuser]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	all, n := map[refuser]bool{}, e.stretch(now)
	for id, t := range e.sources {
		for name, p := range t.providers {
			if _, denied := sum(&p.slots, n); denied > 0 {
				all[refuser{id, name}] = true
			}
		}
	}
	return all
}

// behind counts the messages that wait because a provider refused their source
// and is left alone since, to 64 for each.
func (s *scheduler) behind(now time.Time) map[refuser]int {
	who := s.evidence.refusers(now)
	if len(who) == 0 {
		return nil
	}
	lanes := map[refuser][]queue.Lane{}
	s.mu.Lock()
	for _, t := range s.targets {
		if t.site == nil || len(t.site.Hosts) == 0 || !now.Before(t.until) {
			continue
		}
		key := refuser{t.key.source, bounce.ProviderOf(t.site.Hosts[0].Name)}
		for l := range t.parked {
			if !who[key] || len(lanes[key]) == evidenceMessages {
				break
			}
			lanes[key] = append(lanes[key], l)
		}
	}
	s.mu.Unlock()
	count := map[refuser]int{}
	for key, all := range lanes {
		for _, l := range all {
			n, err := s.spool.Waiting(l, evidenceMessages-count[key])
			if err != nil {
				s.cfg.Log.Error("count what waits for a provider failed", "tenant", l.Tenant, "err", err)
				return nil
			}
			if count[key] += n; count[key] >= evidenceMessages {
				break
			}
		}
	}
	return count
}

// wait keeps the largest number for a while.
func (p *refusals) wait(n int, now time.Time, keep time.Duration) {
	if n >= p.waiting || now.Sub(p.since) > keep {
		p.waiting, p.since = n, now
	}
}
