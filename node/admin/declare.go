package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// maxApply is a declaration of a full cluster as JSON, with its keys.
const maxApply = 8 << 20

// applyTries is how often a declaration is compared anew because another
// operator changed something in between.
const applyTries = 5

func (s *Server) declareRoutes() {
	type apply struct {
		Keyed
		Body Apply
	}
	register(s, in{verb: http.MethodPost, path: "/v1/apply", id: "apply", tag: "apply", body: maxApply,
		does: "Make the cluster as it is declared; what is so already is left alone"},
		func(ctx context.Context, _ caller, i *apply) (*out[Applied], error) {
			return answered(s.apply(ctx, i.Keyed, i.Body))
		})
	register(s, in{verb: http.MethodGet, path: "/v1/export", id: "export", tag: "apply",
		does: "Declare what there is: applied to the same cluster it changes nothing"},
		func(ctx context.Context, _ caller, i *struct {
			Passwords bool   `query:"passwords" doc:"With the hashes of the accounts' passwords"`
			Secrets   bool   `query:"secrets" doc:"With these, and with the private DKIM keys"`
			Tenant    string `query:"tenant" maxLength:"63" doc:"This tenant alone"`
		}) (*out[Declaration], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			with := ExportSecrets{Passwords: i.Passwords || i.Secrets, Keys: i.Secrets}
			d, err := s.export(st, i.Tenant, with)
			if err == nil && with != (ExportSecrets{}) {
				_, err = s.disclose(ctx, st, with.disclosed(st, i.Tenant))
			}
			return answered(d, err)
		})
}

// apply compares and changes until nothing is left to do.
func (s *Server) apply(ctx context.Context, k Keyed, b Apply) (Applied, error) {
	done := Applied{Operations: []Operation{}, DryRun: b.DryRun}
	for try := 0; ; try++ {
		st, err := s.read(ctx)
		if err != nil {
			return done, err
		}
		want, sealed, err := s.readDeclaration(st, b.Declaration)
		if err != nil {
			return done, err
		}
		changes, stays, bad := s.compare(k, st, want, b)
		if len(bad) > 0 {
			return done, notPossible(bad)
		}
		operations := viewOperations(changes, sealed)
		done.LeftAlone = stays
		if b.DryRun {
			done.Operations, done.Changed = operations, len(operations) > 0
			return done, nil
		}
		if err := s.mayApply(ctx, st, changes); err != nil {
			return done, err
		}
		n, err := s.carryOut(ctx, k, "declaration "+actorName(b.Name), st, changes, len(done.Operations))
		done.Operations = append(done.Operations, operations[:n]...)
		done.Changed = len(done.Operations) > 0
		switch {
		case err == nil:
			return done, nil
		case !stale(err) || try+1 == applyTries:
			return done, partly(err, len(done.Operations), n-len(changes))
		}
	}
}

// compare says what makes the state as it is declared, or imports it.
func (s *Server) compare(k Keyed, st *tenant.State, want tenant.Declared, b Apply) ([]tenant.Change, []string, []tenant.NotPossible) {
	vet := func(op tenant.Op) tenant.Op { return s.vetted(k, op) }
	if b.Declaration.Import == "" {
		changes, bad := tenant.Diff(st, want, b.Prune, vet)
		return changes, nil, bad
	}
	if b.Prune {
		return nil, nil, []tenant.NotPossible{{At: "import", Reason: "an import takes nothing away: leave out --prune"}}
	}
	return tenant.DiffImport(st, want, b.Declaration.Import, vet)
}

// mayApply refuses what Diff cannot know of.
func (s *Server) mayApply(ctx context.Context, st *tenant.State, changes []tenant.Change) error {
	var gone []tenant.Change
	for _, c := range changes {
		if c.NeedsSecret {
			return &Problem{Type: "about:blank", Title: "Unprocessable Entity", Status: http.StatusUnprocessableEntity, Detail: "validation failed",
				Mend: "a dry run names the accounts that need one", Errors: []Fault{{Message: "account " + c.Name + " is new and has no password", Location: c.At}}}
		}
		if c.Sign == "-" && c.Kind == "tenant" {
			gone = append(gone, c)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	// Nobody would deliver or bounce what a tenant leaves behind.
	counts, missing := s.allCounts(ctx, st, callerOf(ctx))
	for _, c := range gone {
		t := st.TenantByName(c.Name)
		owner := nodeName(st, t.Owner)
		if slices.Contains(missing, owner) {
			return problem(http.StatusServiceUnavailable, "try again when it runs, or a backup has taken over",
				"tenant %q cannot go: node %s owns it and does not say whether mail waits", t.Name, owner)
		}
		if n := counts[t.ID].Messages; n > 0 {
			return problem(http.StatusConflict, "let the mail expire, or end it: postern queue purge --tenant "+t.Name,
				"tenant %q cannot go: it has %s in the queue", t.Name, messages(n))
		}
	}
	return nil
}

// carryOut proposes the changes in batches and gives how many were done.
func (s *Server) carryOut(ctx context.Context, k Keyed, name string, st *tenant.State, changes []tenant.Change, before int) (int, error) {
	if len(changes) > 0 && !st.Journals() {
		return 0, problem(http.StatusServiceUnavailable, "try again in a few seconds; during an upgrade, when it is done",
			"the journal is not open yet: that is so until every node runs a program that keeps one")
	}
	n := 0
	for part := range slices.Chunk(changes, tenant.MaxBatch) {
		b := tenant.Batch{After: st.Index()}
		if before == 0 && n == 0 {
			b.Name = strings.TrimSpace(name)
		}
		for _, c := range part {
			b.Ops = append(b.Ops, c.Op)
		}
		_, next, err := s.propose(ctx, k.apart(fmt.Sprint("batch ", before+n, " ", st.Index())), b)
		if err != nil {
			return n, err
		}
		n, st = n+len(part), next
	}
	return n, nil
}

func stale(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == http.StatusConflict && strings.HasSuffix(p.Detail, tenant.Stale)
}

// partly says with a failure what was done before it.
func partly(err error, done, left int) error {
	var p *Problem
	if done == 0 || !errors.As(err, &p) {
		return err
	}
	told := *p
	told.Detail = fmt.Sprintf("%d changes were done, %d not: %s", done, -left, p.Detail)
	told.Mend = "apply it again: it goes on where it stopped"
	return &told
}

func notPossible(bad []tenant.NotPossible) *Problem {
	p := problem(http.StatusConflict, "", "not possible as declared; nothing was changed")
	for _, b := range bad {
		p.Errors = append(p.Errors, Fault{Message: b.Reason, Location: b.At})
	}
	return p
}

func viewOperations(changes []tenant.Change, sealed map[string]Sealed) []Operation {
	do := map[string]string{"+": "add", "~": "change", "-": "remove"}
	all := make([]Operation, 0, len(changes))
	for _, c := range changes {
		v := Operation{Do: do[c.Sign], Kind: c.Kind, Name: c.Name, Tenant: c.Tenant, At: c.At}
		for _, f := range c.Fields {
			v.Fields = append(v.Fields, ChangedField(f))
		}
		if c.NeedsSecret {
			v.Password = "needed"
		}
		if k, ok := sealed[c.At]; ok && c.Kind == "domain" {
			v.Record, v.Warnings = k.Record, k.Warnings
		}
		all = append(all, v)
	}
	return all
}

// ExportSecrets says which secrets an export has. Its zero value is none.
type ExportSecrets struct {
	Passwords bool // the hashes of the accounts' passwords
	Keys      bool // the private DKIM keys
}

// disclosed is what the journal says of an export with secrets.
func (with ExportSecrets) disclosed(st *tenant.State, only string) tenant.Disclosed {
	op := tenant.Disclosed{What: tenant.DisclosedHashes}
	if with.Keys {
		op.What = tenant.DisclosedKeys
	}
	if t := st.TenantByName(only); t != nil {
		op.Tenant = t.ID
	}
	return op
}

// disclose writes into the journal what is to be given out. What cannot be
// written there is not given out, unless a node's program is too old to read it.
// It returns the state that has it.
func (s *Server) disclose(ctx context.Context, st *tenant.State, op tenant.Disclosed) (*tenant.State, error) {
	if !st.Journals() || !st.Knows(op) {
		return st, nil
	}
	_, st, err := s.propose(ctx, Keyed{}, op)
	return st, err
}

// export declares what there is.
func (s *Server) export(st *tenant.State, only string, with ExportSecrets) (Declaration, error) {
	var v Declaration
	d := st.Declaration()
	if only != "" && st.TenantByName(only) == nil {
		return v, absent("tenant", only)
	}
	tenants := []DeclaredTenant{}
	for _, t := range *d.Tenants {
		if only == "" || t.Name == only {
			one := exportTenant(st, t, with.Passwords)
			if with.Keys {
				if err := s.exportKeys(st, *one.Domains); err != nil {
					return v, err
				}
			}
			tenants = append(tenants, one)
		}
	}
	v.Tenants = &tenants
	if only != "" {
		return v, nil
	}
	sources, routes := []DeclaredSource{}, []DeclaredRoute{}
	for _, x := range *d.Sources {
		o := DeclaredSource{Addr: x.Addr.String(), Node: x.Node, EHLO: x.EHLO, Shared: x.Shared}
		if x.Class != tenant.PoolMixed {
			o.Class = x.Class.String()
		}
		if !x.Warm.IsZero() {
			o.WarmSince = x.Warm.Format(time.DateOnly)
		}
		enrolled := make([]DeclaredEnrolment, len(*x.Enrolments))
		for i, e := range *x.Enrolments {
			enrolled[i] = DeclaredEnrolment{Programme: e.Programme.String(), State: e.State.String(), Note: e.Note}
		}
		if len(enrolled) > 0 {
			o.Enrolments = &enrolled
		}
		sources = append(sources, o)
	}
	for _, r := range *d.Routes {
		routes = append(routes, DeclaredRoute{Domain: r.Domain, Host: r.Host, Port: r.Port})
	}
	v.Sources, v.Routes, v.OnListing = &sources, &routes, d.OnListing.String()
	if d.Automation != nil {
		v.Automation = d.Automation.Mode.String()
	}
	n := d.Notices
	v.Notices = &DeclaredNotices{SetNotices{Operators: n.Operators, From: n.From, Smarthost: n.Smarthost, User: n.User, Plain: n.Plain, Webhook: n.Webhook, Tenants: n.Tenants}}
	v.Retention = map[string]uint32{}
	for _, c := range tenant.RetentionClasses() {
		v.Retention[c.Name] = *d.Retention.Class(c.Name)
	}
	if d.Lists != nil && s.cfg.WriteZones != nil {
		if text := s.cfg.WriteZones(*d.Lists); text != "" { // what a trial scaled no file can say
			v.Zones = &DeclaredZones{File: text}
		}
	}
	return v, nil
}

// exportKeys adds the private keys: a file without one of them would sign nothing
// elsewhere, so that one that does not open is told.
func (s *Server) exportKeys(st *tenant.State, all []DeclaredDomain) error {
	for i := range all {
		d := st.Domain(all[i].Name)
		if d.Selector == "" {
			continue
		}
		if s.cfg.OpenKey == nil {
			return problem(http.StatusConflict, "set secret_key_file in the configuration, or ask another node", "this node cannot open keys")
		}
		key, err := s.cfg.OpenKey(d.Name, d.Selector, d.SealedKey)
		if err != nil {
			return problem(http.StatusConflict, "give this node the cluster's secret_key_file, or ask another node", "the key of domain %q does not open on this node", d.Name)
		}
		all[i].Key = string(key)
	}
	return nil
}

func exportTenant(st *tenant.State, t tenant.DeclaredTenant, passwords bool) DeclaredTenant {
	domains, accounts := []DeclaredDomain{}, []DeclaredAccount{}
	for _, x := range *t.Domains {
		domains = append(domains, DeclaredDomain{Name: x.Name, Selector: x.Selector, Bounce: x.Bounce})
	}
	for _, x := range *t.Accounts {
		a := st.AccountByUsername(x.Username)
		v := viewAccount(st, a)
		o := DeclaredAccount{Address: x.Username, BytesPerMonth: x.Plan.BytesPerMonth, MailsPerMonth: x.Plan.MailsPerMonth, MaxRecipients: x.Plan.MaxRecipients,
			MaxSize: uint64(x.Plan.MaxSize), Networks: v.Networks, Reference: x.Reference, Limits: v.Limits, GapMS: v.GapMS}
		if x.Class != tenant.Transactional {
			o.Class = v.Class
		}
		switch hash := st.Hash(a.ID); {
		case !passwords:
		case hash != "":
			o.PasswordHash = hash
		default:
			o.PasswordSHA256 = hex.EncodeToString(a.Secret[:])
		}
		accounts = append(accounts, o)
	}
	return DeclaredTenant{Name: t.Name, Hostname: t.Hostname, Home: placeWord(t.Home), Backup: placeWord(t.Backup), Customer: t.Customer,
		Automation: t.Conduct.Automation.String(), OnListing: t.Conduct.OnListing.String(), Probation: t.Conduct.Probation, Domains: &domains, Accounts: &accounts}
}

// placeWord is "n1", for its pool, or "n1/192.0.2.11"; "" for none.
func placeWord(p *tenant.DeclaredPlace) string {
	switch {
	case p == nil:
		return ""
	case !p.Addr.IsValid():
		return p.Node
	}
	return p.Node + "/" + p.Addr.String()
}

// Apply makes the cluster as it is declared, or says what would change.
func (c *Client) Apply(ctx context.Context, a Apply) (Applied, error) {
	return ask[Applied](ctx, c, http.MethodPost, path("apply"), a)
}

// Export declares what there is: of one tenant, or with "" of all the cluster.
func (c *Client) Export(ctx context.Context, tenant string, with ExportSecrets) (Declaration, error) {
	words := map[bool]string{true: "true"}
	return ask[Declaration](ctx, c, http.MethodGet, path("export")+List{}.query("tenant", tenant, "passwords", words[with.Passwords], "secrets", words[with.Keys]), nil)
}
