package declare

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/node/admin"
	"postern/tenant"
)

// Bounds of what is read.
const (
	maxFile   = 8 << 20
	maxFiles  = 2000 // of a directory
	maxAll    = 32 << 20
	maxSecret = 16 << 10
	maxZones  = 256 << 10
	// leastPassword is the shortest password that its SHA-256 keeps secret when it
	// is machine-made; a person's password needs a slow hash.
	leastPassword = 24
)

// Set is what one or more files declare together.
type Set struct {
	Declaration admin.Declaration
	places      map[string]Place // by the declaration's keys
}

// FaultsError is that the files cannot be used, and why.
type FaultsError struct{ Faults []Fault }

func (e *FaultsError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return strings.Join(texts, "\n")
}

// Load reads a file, all *.yaml and *.yml of a directory in the order of their
// names, or standard input as "-". Files that are named in them are looked for
// beside them. The error is a *FaultsError when it is about what stands there.
func Load(name string, stdin io.Reader) (*Set, error) {
	names, err := filesOf(name)
	if err != nil {
		return nil, err
	}
	r := &reader{set: &Set{places: map[string]Place{}}, open: os.Open}
	total := 0
	for _, f := range names {
		text, err := r.text(f, stdin)
		if err != nil {
			return nil, err
		}
		if total += len(text); total > maxAll {
			return nil, fmt.Errorf("read %s: all files together are larger than %d MB", name, maxAll>>20)
		}
		r.file(f, text)
	}
	r.whole()
	if len(r.faults) > 0 {
		return nil, &FaultsError{r.faults}
	}
	return r.set, nil
}

func filesOf(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read declaration: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, fmt.Errorf("read declaration: %w", err)
	}
	var all []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, filepath.Join(name, e.Name()))
		}
	}
	if len(all) == 0 || len(all) > maxFiles {
		return nil, fmt.Errorf("read declaration: %d .yaml files in %s", len(all), name)
	}
	return all, nil
}

// Place finds where the thing stands that a key of the declaration names, such
// as tenants[0].accounts[1].class; what has no line of its own stands where what
// it belongs to begins.
func (s *Set) Place(key string) (Place, bool) {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "body."), "declaration.")
	for key != "" {
		if p, ok := s.places[key]; ok {
			return p, true
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return Place{}, false
}

// reader puts the files together.
type reader struct {
	set    *Set
	open   func(name string) (*os.File, error)
	faults []Fault
	plans  map[string]plan
	// of the file that is read
	name     string
	at       map[string]Place
	accounts []pendingAccount
}

// pendingAccount waits for all plans to be known: they may stand in another file.
type pendingAccount struct {
	of    account
	into  *admin.DeclaredAccount
	place Place
	key   string
}

func (r *reader) text(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return bounded(stdin, "standard input", maxFile)
	}
	return r.fileText(name, maxFile)
}

func (r *reader) fileText(name string, most int64) ([]byte, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read file %s: it is no regular file", name)
	}
	return bounded(f, name, most)
}

func bounded(from io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("read %s: larger than %d KB", name, most>>10)
	}
	return b, nil
}

func (r *reader) fault(key, mend, format string, args ...any) {
	p, ok := r.at[key]
	for k := key; !ok && k != ""; p, ok = r.at[k] {
		k = k[:max(strings.LastIndexAny(k, ".["), 0)]
	}
	if p.File == "" {
		p.File = r.name
	}
	r.faults = append(r.faults, Fault{Place: p, Key: key, Text: fmt.Sprintf(format, args...), Mend: mend})
}

// file adds what one file declares.
func (r *reader) file(name string, text []byte) {
	d, at, faults := parse(name, text)
	r.name, r.at = name, at
	if name == "-" {
		r.name = "standard input"
	}
	r.faults = append(r.faults, faults...)
	if d.Version > 1 {
		r.fault("version", "this program reads version 1", "version %d", d.Version)
	}
	out := &r.set.Declaration
	// What stands in lists moves behind what other files declared.
	moved := map[string]int{"sources": length(out.Sources), "tenants": length(out.Tenants), "routes": length(out.Routes)}
	for key, p := range at {
		r.set.places[shift(key, moved)] = p
	}
	for name, p := range d.Plans {
		if _, twice := r.plans[name]; twice {
			r.fault("plans."+name, "keep one", "another file has a plan of this name")
		}
		if r.plans == nil {
			r.plans = map[string]plan{}
		}
		r.plans[name] = p
	}
	appendAll(&out.Sources, d.Sources, func(_ int, x source) admin.DeclaredSource { return declaredSource(x) })
	appendAll(&out.Routes, d.Routes, func(_ int, x route) admin.DeclaredRoute { return admin.DeclaredRoute(x) })
	appendAll(&out.Tenants, d.Tenants, func(i int, x tenantEntry) admin.DeclaredTenant { return r.tenant(fmt.Sprintf("tenants[%d]", i), x) })
	r.once(d)
	if d.Zones != nil {
		out.Zones = r.zones(d.Zones)
	}
	if d.Notices != nil {
		out.Notices = r.notices(d.Notices)
	}
	if d.Retention != nil {
		out.Retention = r.retention(*d.Retention)
	}
	if d.Automation != "" {
		// Programs that write YAML of another age make a truth of on and off.
		out.Automation = map[string]string{"true": "on", "false": "off"}[d.Automation]
		if out.Automation == "" {
			out.Automation = d.Automation
		}
	}
	if d.OnListing != "" {
		out.OnListing = d.OnListing
	}
	if d.Import != "" {
		out.Import = d.Import
	}
}

// once refuses what two files say of the one thing there is.
func (r *reader) once(d *document) {
	out := &r.set.Declaration
	for key, both := range map[string]bool{"zones": d.Zones != nil && out.Zones != nil, "notices": d.Notices != nil && out.Notices != nil, "retention": d.Retention != nil && out.Retention != nil,
		"automation": d.Automation != "" && out.Automation != "", "on_listing": d.OnListing != "" && out.OnListing != "",
		"import": d.Import != "" && out.Import != ""} {
		if both {
			r.fault(key, "keep one", "another file says it, too")
		}
	}
}

func length[T any](l *[]T) int {
	if l == nil {
		return 0
	}
	return len(*l)
}

func appendAll[A, B any](to **[]B, from *[]A, make func(int, A) B) {
	if from == nil {
		return
	}
	if *to == nil {
		*to = &[]B{}
	}
	for i, x := range *from {
		**to = append(**to, make(i, x))
	}
}

// shift moves the first index of a key.
func shift(key string, by map[string]int) string {
	list, rest, ok := strings.Cut(key, "[")
	number, rest, more := strings.Cut(rest, "]")
	n, err := strconv.Atoi(number)
	if !ok || !more || err != nil || by[list] == 0 {
		return key
	}
	return fmt.Sprintf("%s[%d]%s", list, n+by[list], rest)
}

func declaredSource(x source) admin.DeclaredSource {
	v := admin.DeclaredSource{Addr: x.Addr, Node: x.Node, EHLO: x.EHLO, Shared: x.Shared, Class: x.Class, WarmSince: x.WarmSince}
	appendAll(&v.Enrolments, x.Enrolments, func(_ int, e enrolment) admin.DeclaredEnrolment { return admin.DeclaredEnrolment(e) })
	return v
}

func (r *reader) tenant(at string, x tenantEntry) admin.DeclaredTenant {
	v := admin.DeclaredTenant{Name: x.Name, Hostname: x.Hostname, Home: x.Home, Backup: x.Backup, Customer: x.Customer,
		Automation: x.Automation, OnListing: x.OnListing, Probation: x.Probation}
	for key, text := range map[string]string{"name": x.Name, "hostname": x.Hostname} {
		if text == "" {
			r.fault(at, "", "a tenant without a %s", key)
		}
	}
	if x.Domains != nil {
		all := []admin.DeclaredDomain{}
		for i, d := range *x.Domains {
			all = append(all, r.domain(fmt.Sprintf("%s.domains[%d]", at, i), d))
		}
		v.Domains = &all
	}
	if x.Accounts != nil {
		all := make([]admin.DeclaredAccount, len(*x.Accounts))
		for i, a := range *x.Accounts {
			key := fmt.Sprintf("%s.accounts[%d]", at, i)
			all[i] = r.account(key, a)
			r.accounts = append(r.accounts, pendingAccount{of: a, into: &all[i], place: r.at[key], key: key})
		}
		v.Accounts = &all
	}
	return v
}

func (r *reader) domain(at string, x domain) admin.DeclaredDomain {
	v := admin.DeclaredDomain{Name: x.Name, Bounce: x.Bounce}
	if x.Name == "" {
		r.fault(at, "", "a domain without a name")
	}
	if x.DKIM == nil {
		return v
	}
	v.Selector = x.DKIM.Selector
	if v.Selector == "" {
		r.fault(at+".dkim", "write selector: s1", "no selector")
	}
	v.Key = x.DKIM.Key
	if x.DKIM.KeyFile != "" {
		if v.Key != "" {
			r.fault(at+".dkim.key", "keep one", "a key_file, too")
		}
		v.Key = r.secret(at+".dkim.key_file", x.DKIM.KeyFile, maxSecret)
	}
	return v
}

func (r *reader) account(at string, x account) admin.DeclaredAccount {
	v := admin.DeclaredAccount{Address: x.Address, Networks: x.Networks, Reference: x.Reference, PasswordSHA256: strings.ToLower(x.PasswordSHA256), PasswordHash: x.PasswordHash}
	if x.Address == "" {
		r.fault(at, "", "an account without an address")
	}
	if x.PasswordHash != "" && (x.PasswordFile != "" || x.PasswordSHA256 != "") {
		r.fault(at+".password_hash", "keep one", "another password, too")
	}
	if x.PasswordFile == "" {
		return v
	}
	if x.PasswordSHA256 != "" {
		r.fault(at+".password_sha256", "keep one", "a password_file, too")
	}
	if text := strings.TrimSpace(r.secret(at+".password_file", x.PasswordFile, maxSecret)); text != "" {
		if len(text) < leastPassword {
			r.fault(at+".password_file", fmt.Sprintf("let a machine make one of %d letters or more, such as: openssl rand -hex 20", leastPassword), "the password is too short to be kept by a fast hash")
		}
		h := sha256.Sum256([]byte(text))
		v.PasswordSHA256 = hex.EncodeToString(h[:])
	}
	return v
}

// whole gives accounts their plans, when all files were read.
func (r *reader) whole() {
	for _, p := range r.accounts {
		x, v := p.of, p.into
		r.at, r.name = map[string]Place{p.key: p.place}, p.place.File
		base, ok := r.plans[x.Plan]
		if x.Plan != "" && !ok {
			names := make([]string, 0, len(r.plans))
			for n := range r.plans {
				names = append(names, n)
			}
			slices.Sort(names)
			r.fault(p.key, "there is "+clip(strings.Join(names, ", ")), "no plan %q", clip(x.Plan))
		}
		v.Class = pick(x.Class, base.Class)
		v.BytesPerMonth, v.MailsPerMonth = uint64(pick(x.BytesPerMonth, base.BytesPerMonth)), pick(x.MailsPerMonth, base.MailsPerMonth)
		v.MaxRecipients, v.MaxSize = int(pick(x.MaxRecipients, base.MaxRecipients)), uint64(pick(x.MaxSize, base.MaxSize))
		v.GapMS = float64(pick(x.Gap, base.Gap)) / float64(time.Millisecond)
		for i, text := range pick(x.Limits, base.Limits) {
			l, err := parseLimit(text)
			if err != nil {
				r.fault(fmt.Sprintf("%s.limits[%d]", p.key, i), "write minute=300, hour=5000, half-day=MAILS or day=20000/500MB", "%q is no limit", clip(text))
			}
			v.Limits = append(v.Limits, l)
		}
	}
}

// pick is what an account says, else what its plan does.
func pick[T any](own, plan *T) (v T) {
	switch {
	case own != nil:
		return *own
	case plan != nil:
		return *plan
	}
	return v
}

func parseLimit(text string) (admin.Limit, error) {
	window, amount, ok := strings.Cut(text, "=")
	mails, octets, _ := strings.Cut(amount, "/")
	l := admin.Limit{Window: window}
	var err error
	if mails != "" {
		l.Mails, err = strconv.ParseUint(mails, 10, 60)
	}
	if err == nil && octets != "" {
		var n size
		n, err = parseSize(octets)
		l.Bytes = uint64(n)
	}
	if !ok || amount == "" || !slices.Contains([]string{"minute", "hour", "half-day", "day"}, window) {
		return l, errors.New("no limit")
	}
	return l, err
}

func (r *reader) zones(x *zones) *admin.DeclaredZones {
	v := &admin.DeclaredZones{File: x.Text, Round: x.Round}
	switch {
	case (x.File == "") == (x.Text == ""):
		r.fault("zones", "write file: zones.yaml", "give file or text")
	case x.File != "":
		v.File = r.secret("zones.file", x.File, maxZones)
	}
	return v
}

func (r *reader) retention(x retention) map[string]uint32 {
	all := map[string]uint32{}
	for class, text := range map[string]string{"recipients": x.Recipients, "dialogues": x.Dialogues, "reports": x.Reports, "journal": x.Journal} {
		if text == "" {
			continue
		}
		days, err := tenant.ParseDays(text)
		if err != nil {
			r.fault("retention."+class, "", "%v", err)
		}
		all[class] = days
	}
	return all
}

func (r *reader) notices(x *notices) *admin.DeclaredNotices {
	v := &admin.DeclaredNotices{SetNotices: admin.SetNotices{Operators: x.Operators, From: x.From, Smarthost: x.Smarthost, User: x.User, Plain: x.Plain, Webhook: x.Webhook, Tenants: x.Tenants}}
	if x.PasswordFile != "" {
		v.Password = strings.TrimSpace(r.secret("notices.password_file", x.PasswordFile, maxSecret))
	}
	if x.SecretFile != "" {
		v.Secret = strings.TrimSpace(r.secret("notices.secret_file", x.SecretFile, maxSecret))
	}
	return v
}

// secret reads a file that is named beside the one that names it.
func (r *reader) secret(key, name string, most int64) string {
	if !filepath.IsAbs(name) && r.name != "-" && r.name != "standard input" {
		name = filepath.Join(filepath.Dir(r.name), name)
	}
	b, err := r.fileText(name, most)
	if err != nil {
		r.fault(key, "", "%v", err)
	}
	return string(b)
}
