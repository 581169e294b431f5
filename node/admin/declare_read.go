package admin

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// declaredReader turns a declaration into the state's words. It finds every
// fault, each with its place.
type declaredReader struct {
	s      *Server
	st     *tenant.State
	faults []Fault
	sealed map[string]Sealed // new keys, by place
}

func (s *Server) readDeclaration(st *tenant.State, b Declaration) (tenant.Declared, map[string]Sealed, error) {
	r := &declaredReader{s: s, st: st, sealed: map[string]Sealed{}}
	want := r.cluster(b)
	seen := map[string]string{}
	if b.Sources != nil {
		all := []tenant.DeclaredSource{}
		for i, x := range *b.Sources {
			at := fmt.Sprintf("sources[%d]", i)
			r.once(seen, "source "+x.Addr, at)
			all = append(all, r.source(at, x))
		}
		want.Sources = &all
	}
	if b.Tenants != nil {
		all := []tenant.DeclaredTenant{}
		for i, x := range *b.Tenants {
			at := fmt.Sprintf("tenants[%d]", i)
			r.once(seen, "tenant "+x.Name, at)
			all = append(all, r.tenant(seen, at, x))
		}
		want.Tenants = &all
	}
	if b.Routes != nil {
		all := []tenant.DeclaredRoute{}
		for i, x := range *b.Routes {
			at := fmt.Sprintf("routes[%d]", i)
			r.once(seen, "route "+x.Domain, at)
			if x.Port == 0 {
				x.Port = 25
			}
			all = append(all, tenant.DeclaredRoute{At: at, Route: tenant.Route{Domain: x.Domain, Host: x.Host, Port: x.Port}})
		}
		want.Routes = &all
	}
	if len(r.faults) > 0 {
		p := problem(http.StatusUnprocessableEntity, "", "validation failed")
		p.Errors = r.faults[:min(len(r.faults), 100)]
		return want, nil, p
	}
	return want, r.sealed, nil
}

func (r *declaredReader) fault(at, format string, args ...any) {
	r.faults = append(r.faults, Fault{Message: fmt.Sprintf(format, args...), Location: at})
}

// fail takes over the words of another reader's refusal.
func (r *declaredReader) fail(at string, err error) {
	if err == nil {
		return
	}
	if p, ok := err.(*Problem); ok {
		for _, f := range p.Errors {
			r.fault(at, "%s", f.Message)
		}
		if len(p.Errors) > 0 {
			return
		}
	}
	r.fault(at, "%s", err.Error())
}

// once refuses a second of the same name: which one counts nobody could say.
func (r *declaredReader) once(seen map[string]string, name, at string) {
	name = strings.ToLower(name)
	if before, twice := seen[name]; twice {
		r.fault(at, "%s is there twice, first at %s", clip(name), before)
		return
	}
	seen[name] = at
}

func (r *declaredReader) cluster(b Declaration) (want tenant.Declared) {
	if b.OnListing != "" {
		on, err := tenant.ParseOnListing(b.OnListing)
		r.fail("on_listing", err)
		want.OnListing = &on
	}
	round := ""
	if b.Zones != nil {
		op, err := r.s.readLists(SetLists{Zones: b.Zones.File, Round: b.Zones.Round})
		r.fail("zones", err)
		want.Lists, round = &op, b.Zones.Round
	}
	want.Automation = r.automation(b, round)
	if b.Notices != nil {
		n, err := r.s.readNotices(b.Notices.SetNotices)
		r.fail("notices", err)
		r.sameSecrets(&n, b.Notices.SetNotices)
		want.Notices = &n
	}
	if len(b.Retention) > 0 {
		kept := r.st.Retention()
		for _, class := range slices.Sorted(maps.Keys(b.Retention)) {
			if field := kept.Class(class); field != nil {
				*field = b.Retention[class]
			} else {
				r.fault("retention."+class, "no class of personal data has this name: %s", strings.Join(retentionNames(), ", "))
			}
		}
		want.Retention = &kept
	}
	return want
}

// automation is what follows from listings: with lists it begins as usual, and
// its times are scaled as theirs are.
func (r *declaredReader) automation(b Declaration, round string) *tenant.Contain {
	old := r.st.Contain()
	if b.Automation == "" && (b.Zones == nil || old != nil && round == "") {
		return nil
	}
	length, _ := time.ParseDuration(round) // readLists has judged it
	c := tenant.Usual(length)
	if old != nil {
		c.Mode = old.Mode
		if round == "" {
			c.Rule = old.Rule
		}
	}
	if b.Automation != "" {
		mode, err := tenant.ParseAutomation(b.Automation)
		r.fail("automation", err)
		c.Mode = mode
	}
	return &c
}

// sameSecrets takes back what was sealed anew although it is what is kept: the
// same secret has another ciphertext each time.
func (r *declaredReader) sameSecrets(n *tenant.Notices, b SetNotices) {
	old := r.st.Notices()
	if old == nil || r.s.cfg.SealsText == nil {
		return
	}
	if b.Password != "" && r.s.cfg.SealsText(SealPassword, old.SealedPassword, []byte(b.Password)) {
		n.SealedPassword = old.SealedPassword
	}
	if b.Secret != "" && r.s.cfg.SealsText(SealSecret, old.SealedSecret, []byte(b.Secret)) {
		n.SealedSecret = old.SealedSecret
	}
}

func (r *declaredReader) source(at string, x DeclaredSource) tenant.DeclaredSource {
	v := tenant.DeclaredSource{At: at, Node: x.Node, EHLO: x.EHLO, Shared: x.Shared}
	addr, err := netip.ParseAddr(x.Addr)
	if err != nil || addr.Zone() != "" {
		r.fault(at+".addr", "%q is no address", clip(x.Addr))
		return v
	}
	v.Addr = addr.Unmap()
	if x.Class != "" {
		v.Class, err = tenant.ParsePoolClass(x.Class)
		r.fail(at+".class", err)
	}
	if v.Class != tenant.PoolMixed && !x.Shared {
		r.fault(at+".class", "a dedicated source is in no pool and has no class")
	}
	if x.WarmSince != "" {
		v.Warm, err = tenant.ParseDay(x.WarmSince)
		r.fail(at+".warm_since", err)
	}
	if x.Enrolments != nil {
		all := r.enrolments(at, *x.Enrolments)
		v.Enrolments = &all
	}
	return v
}

func (r *declaredReader) enrolments(at string, all []DeclaredEnrolment) []tenant.Enrolment {
	var out []tenant.Enrolment
	seen := map[string]string{}
	for i, x := range all {
		at := fmt.Sprintf("%s.enrolments[%d]", at, i)
		r.once(seen, "programme "+x.Programme, at)
		e := tenant.Enrolment{Note: x.Note}
		var err error
		e.Programme, err = tenant.ParseProgramme(x.Programme)
		r.fail(at+".programme", err)
		if x.State != "" {
			e.State, err = tenant.ParseEnrolState(x.State)
			r.fail(at+".state", err)
		}
		out = append(out, e)
	}
	return out
}

func (r *declaredReader) place(at, text string) *tenant.DeclaredPlace {
	if text == "" {
		return nil
	}
	node, addr, has := strings.Cut(text, "/")
	p := &tenant.DeclaredPlace{Node: node}
	if has {
		a, err := netip.ParseAddr(addr)
		if err != nil || a.Zone() != "" {
			r.fault(at, "%q: write NODE, for its pool, or NODE/ADDRESS", clip(text))
		}
		p.Addr = a.Unmap()
	}
	return p
}

func (r *declaredReader) tenant(seen map[string]string, at string, x DeclaredTenant) tenant.DeclaredTenant {
	v := tenant.DeclaredTenant{At: at, Name: x.Name, Hostname: x.Hostname, Customer: x.Customer,
		Home: r.place(at+".home", x.Home), Backup: r.place(at+".backup", x.Backup)}
	var err error
	v.Conduct, err = readConduct(Conduct{Automation: x.Automation, OnListing: x.OnListing, Probation: x.Probation})
	r.fail(at, err)
	if x.Domains != nil {
		all := []tenant.DeclaredDomain{}
		for i, d := range *x.Domains {
			at := fmt.Sprintf("%s.domains[%d]", at, i)
			r.once(seen, "domain "+d.Name, at)
			all = append(all, r.domain(at, d))
		}
		v.Domains = &all
	}
	if x.Accounts != nil {
		all := []tenant.DeclaredAccount{}
		for i, a := range *x.Accounts {
			at := fmt.Sprintf("%s.accounts[%d]", at, i)
			r.once(seen, "account "+a.Address, at)
			all = append(all, r.account(at, a))
		}
		v.Accounts = &all
	}
	return v
}

func (r *declaredReader) domain(at string, x DeclaredDomain) tenant.DeclaredDomain {
	v := tenant.DeclaredDomain{At: at, Name: x.Name, Selector: x.Selector, Bounce: x.Bounce}
	switch {
	case x.Key == "":
		return v
	case x.Selector == "":
		r.fault(at, "a key needs a selector")
		return v
	case r.s.cfg.Seal == nil:
		r.fault(at, "this node cannot keep keys: set secret_key_file in the configuration")
		return v
	}
	if old := r.st.Domain(x.Name); old != nil && old.Selector == x.Selector && r.s.cfg.SealsKey != nil && r.s.cfg.SealsKey(x.Name, x.Selector, old.SealedKey, []byte(x.Key)) {
		return v // it is the key that is kept
	}
	sealed, err := r.s.cfg.Seal(x.Name, x.Selector, []byte(x.Key))
	if err != nil {
		r.fault(at+".key", "%s; give a PEM private key: RSA of 1024 bits at least (better 2048), or Ed25519", err)
		return v
	}
	v.SealedKey, r.sealed[at] = sealed.Bytes, sealed
	return v
}

func (r *declaredReader) account(at string, x DeclaredAccount) tenant.DeclaredAccount {
	v := tenant.DeclaredAccount{At: at, Username: x.Address, Reference: x.Reference, Class: stateClass(x.Class),
		Plan: tenant.Plan{BytesPerMonth: x.BytesPerMonth, MailsPerMonth: x.MailsPerMonth, MaxRecipients: x.MaxRecipients, MaxSize: int64(x.MaxSize)},
		Gap:  time.Duration(x.GapMS * float64(time.Millisecond))}
	if x.PasswordSHA256 != "" {
		var h [32]byte
		if n, err := hex.Decode(h[:], []byte(x.PasswordSHA256)); err != nil || n != len(h) {
			r.fault(at+".password_sha256", "is no SHA-256 in hexadecimal")
		}
		v.Secret = &h
	}
	var err error
	if x.PasswordHash != "" {
		_, err = tenant.ParseHash(x.PasswordHash)
		r.fail(at+".password_hash", err)
		v.Hash = x.PasswordHash
	}
	v.Networks, err = parseNetworks(x.Networks)
	r.fail(at+".networks", err)
	v.Limits, err = stateLimits(x.Limits)
	r.fail(at+".limits", err)
	return v
}
