package tenant

import (
	"math"
	"slices"
	"time"
)

// town20 is a world of twenty tenants and one spammer, hour by hour. What an
// account would send in an hour depends on nothing but the seed, so that every
// way of deciding is tried in the same world.
type town20 struct {
	ranges
	seed     uint64
	start    time.Time // the first hour in which the spammer may begin
	tenants  []*resident
	accounts []*mailer
	spammer  *mailer
	noise    struct{ volume, rate, weekend, campaign float64 }
	list     struct{ hits, delay, names, notice, known, others float64 }
	lost     float64 // complaints nobody can attribute
}

type resident struct{ home, backup int } // nodes, from 1

// mailer is an account: what it usually sends, and what else if it is the
// spammer.
type mailer struct {
	n       int
	tenant  int
	kind    string
	how     string    // the spammer's
	began   time.Time // it sends since then
	usual   traffic
	spam    *traffic // since begins
	begins  time.Time
	hours   float64 // share of the day
	days    [7]bool // news: days of mailings
	hour    int     // and when
	fbl     float64
	delay   float64
	first   [2]float64 // share of usual mail, and of spam, to recipients it never wrote to
	logins  int        // from so many new networks within an hour
	loginAt time.Time
}

// traffic is recipients a day, and the shares of what happens to them.
type traffic struct{ volume, unknown, content, complaints, traps float64 }

// sent is what one account sends in an hour.
type sent struct {
	counts     Counts
	fed        int             // delivered where complaints are reported
	first      int             // recipients it never wrote to
	complaints []time.Duration // after so long
	traps      int
}

func (s *sent) add(o sent) {
	s.counts = s.counts.Plus(o.counts)
	s.fed += o.fed
	s.first += o.first
	s.traps += o.traps
	s.complaints = append(s.complaints, o.complaints...)
}

// part is what is left of it when most is refused.
func (s sent) part(d dice, share float64) (out sent) {
	of := func(n uint64) uint64 { return uint64(math.Round(float64(n) * share)) }
	out.counts = Counts{of(s.counts.Tried), of(s.counts.Delivered), of(s.counts.Unknown), of(s.counts.Content)}
	out.fed, out.first = int(of(uint64(s.fed))), int(of(uint64(s.first)))
	for range s.traps {
		if d.chance(share) {
			out.traps++
		}
	}
	for _, c := range s.complaints {
		if d.chance(share) {
			out.complaints = append(out.complaints, c)
		}
	}
	return out
}

const townTenants = 20

func newTown20(r ranges, seed uint64) (*town20, dice) {
	d := r.dice(seed, 1)
	w := &town20{ranges: r, seed: seed, start: time.Date(2026, 11, 2+d.IntN(7), 0, 0, 0, 0, time.UTC)}
	w.noise.volume, w.noise.rate = d.draw("volume.noise"), d.draw("rate.noise")
	w.noise.weekend, w.noise.campaign = d.draw("weekend"), d.draw("campaign")
	w.list.hits, w.list.delay, w.list.names, w.list.notice = d.draw("list.hits"), d.draw("list.delay"), d.draw("list.names"), d.draw("list.notice")
	w.list.known, w.list.others, w.lost = d.draw("traps.known"), d.draw("others"), d.draw("fbl.lost")
	spammed := int(math.Round(d.draw("tenants.spammed")))
	fresh := d.draw("account.new")
	shares := map[string]float64{"shop": d.draw("kind.shop"), "news": d.draw("kind.news"), "sloppy": d.draw("kind.sloppy")}
	for i := range townTenants {
		x := &resident{home: 1, backup: 2 + i%2}
		if i >= spammed {
			x.home = 2 + i%2
			x.backup = []int{1, 5 - x.home}[i/2%2]
		}
		w.tenants = append(w.tenants, x)
		for range int(math.Round(d.draw("accounts"))) {
			w.accounts = append(w.accounts, w.newMailer(d, i, shares, fresh))
		}
	}
	first := 0
	for _, m := range w.accounts {
		if m.tenant == 0 {
			first++
		}
	}
	w.spammer = w.accounts[d.IntN(first)]
	return w, d
}

// spoilt is a town in which one account becomes the spammer's.
func spoilt(r ranges, seed uint64) *town20 {
	w, d := newTown20(r, seed)
	w.corrupt(d, w.spammer)
	return w
}

func (w *town20) newMailer(d dice, tenant int, shares map[string]float64, fresh float64) *mailer {
	m := &mailer{n: len(w.accounts) + 1, tenant: tenant, kind: "office", fbl: d.draw("fbl"), delay: d.draw("fbl.delay"), hours: 12. / 24, hour: 6 + d.IntN(14)}
	x := d.Float64()
	for _, k := range []string{"shop", "news", "sloppy"} {
		if x -= shares[k]; x < 0 {
			m.kind = k
			break
		}
	}
	days := d.draw("account.days")
	if d.chance(fresh) {
		days = 0.5 + 6.5*d.Float64()
	}
	m.first[0] = w.dice(w.seed, 9, uint64(m.n)).draw(m.kind + ".first")
	m.began = w.start.Add(-time.Duration(days * 24 * float64(time.Hour)))
	m.usual = traffic{d.draw(m.kind + ".volume"), d.draw(m.kind + ".unknown"), d.draw(m.kind + ".content"), d.draw(m.kind + ".complaints"), d.draw(m.kind + ".traps")}
	mailings := int(math.Round(d.draw("news.mailings")))
	for _, day := range d.Perm(7)[:min(mailings, 7)] {
		m.days[day] = true
	}
	if d.chance(d.draw("innocent.logins")) {
		m.logins, m.loginAt = 1+d.IntN(6), w.start.Add(time.Duration(d.IntN(7*24))*time.Hour)
	}
	return m
}

// corrupt makes an account the spammer's.
func (w *town20) corrupt(d dice, m *mailer) {
	m.begins = w.start.Add(time.Duration(d.IntN(24)) * time.Hour)
	x, kind := d.Float64(), "slow"
	if stolen := d.draw("spammer.stolen"); x < stolen {
		kind = "stolen"
	} else if x < stolen+d.draw("spammer.fresh") {
		kind = "fresh"
	}
	m.how = kind
	m.first[1] = w.dice(w.seed, 9, uint64(m.n), 1).draw(kind + ".first")
	m.spam = &traffic{d.draw(kind + ".volume"), d.draw(kind + ".unknown"), d.draw(kind + ".content"), d.draw(kind + ".complaints"), d.draw(kind + ".traps")}
	switch kind {
	case "stolen":
		if d.chance(d.draw("stolen.logins")) {
			m.logins, m.loginAt = 6+d.IntN(20), m.begins
		}
	case "fresh":
		m.kind = "fresh"
		m.began = m.begins.Add(-time.Duration(d.draw("fresh.days") * 24 * float64(time.Hour)))
		m.usual.volume = d.draw("fresh.quiet")
	case "slow":
		// It always sent much, and sends more, and worse, now.
		m.usual.volume = m.spam.volume / d.draw("slow.growth")
		m.began = w.start.Add(-time.Duration(max(d.draw("account.days"), 20) * 24 * float64(time.Hour)))
		m.kind = "shop"
		m.spam.volume -= m.usual.volume
		m.spam.volume = max(m.spam.volume, m.usual.volume*0.1)
		m.usual.unknown, m.usual.complaints = m.spam.unknown/3, m.spam.complaints/3
	}
	m.hours = max(m.hours, d.draw("spam.night"))
	m.days = [7]bool{true, true, true, true, true, true, true}
	w.spammer = m
}

// sends is what an account would send in the hour that begins at a time.
func (w *town20) sends(m *mailer, at time.Time) (s sent) {
	if at.Before(m.began) {
		return s
	}
	day, hour := uint64(at.Unix()/86400), at.Hour()
	today := w.dice(w.seed, 2, uint64(m.n), day)
	volume, rate := today.about(1, w.noise.volume), today.about(1, w.noise.rate)
	if today.chance(w.noise.campaign) {
		volume *= today.draw("campaign.factor")
	}
	d := w.dice(w.seed, 3, uint64(m.n), uint64(at.Unix()))
	if share := m.shareOf(at.Weekday(), hour, w.noise.weekend); share > 0 {
		s.add(m.usual.scaled(volume*share, rate).happens(d, m, w.lost).strange(w, m, 0, at))
	}
	if m.spam != nil && !at.Before(m.begins) && float64((hour+24-m.hour)%24) < 24*m.hours {
		s.add(m.spam.scaled(today.about(1, w.noise.volume)/(24*m.hours), rate).happens(d, m, w.lost).strange(w, m, 1, at))
	}
	return s
}

// strange draws how many of an hour's recipients were never written to.
func (s sent) strange(w *town20, m *mailer, spam int, at time.Time) sent {
	if n := int(s.counts.Tried); n > 0 {
		s.first = min(n, w.dice(w.seed, 11, uint64(m.n), uint64(spam), uint64(at.Unix())).some(float64(n)*m.first[spam]))
	}
	return s
}

// shareOf is what part of a day's mail leaves in an hour.
func (m *mailer) shareOf(day time.Weekday, hour int, weekend float64) float64 {
	switch m.kind {
	case "news", "sloppy":
		if m.days[day] && hour >= m.hour && hour < m.hour+3 {
			return 1. / 3
		}
		return 0
	}
	if hour < 8 || hour >= 20 {
		return 0
	}
	if day == time.Saturday || day == time.Sunday {
		return weekend / 12
	}
	return 1. / 12
}

func (t traffic) scaled(volume, rate float64) traffic {
	return traffic{t.volume * volume, t.unknown * rate, t.content * rate, t.complaints * rate, t.traps * rate}
}

// happens draws what becomes of the mails of an hour.
func (t traffic) happens(d dice, m *mailer, lost float64) (s sent) {
	tried := d.some(t.volume)
	if tried == 0 {
		return s
	}
	some := func(of int, p float64) int { return min(of, d.some(float64(of)*p)) }
	unknown := some(tried, t.unknown)
	content := some(tried-unknown, t.content)
	delivered := tried - unknown - content
	s.counts = Counts{Tried: uint64(tried), Delivered: uint64(delivered), Unknown: uint64(unknown), Content: uint64(content)}
	s.fed = some(delivered, m.fbl)
	s.traps = some(delivered, t.traps)
	for range some(s.fed, t.complaints*(1-lost)) {
		s.complaints = append(s.complaints, d.after(m.delay))
	}
	return s
}

// hits are the traps of a list that an address has hit, by whom: 0 is nobody of
// ours.
type hits []hit

type hit struct {
	at time.Time
	by int
}

const hitWindow = 48 * time.Hour

// recent counts the hits that make a list list an address, and the spammer's.
func (w *town20) recent(all hits, now time.Time) (n, his int) {
	for _, h := range slices.Backward(all) {
		if now.Sub(h.at) >= hitWindow {
			break
		}
		if n++; h.by == w.spammer.n {
			his++
		}
	}
	return n, his
}

// listable says whether an address is to be listed because of its hits.
func (w *town20) listable(all hits, now time.Time) bool {
	n, _ := w.recent(all, now)
	return float64(n) >= w.list.hits
}

// byHim says whether it would not be without the spammer's.
func (w *town20) byHim(all hits, now time.Time) bool {
	n, his := w.recent(all, now)
	return float64(n-his) < w.list.hits && his > 0
}
