package submission

import (
	"net/netip"
	"strings"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// IntakeReport is one report that came in on port 25.
type IntakeReport struct {
	bounce.Feedback
	At     time.Time
	Client netip.Addr // who brought it
	From   string     // its reverse-path, "" for the null one
	To     string
	Role   bounce.Role
	Size   int64  // octets of the whole
	Proof  Proof  // of a list operator's notice
	Raw    []byte // the first megabyte of it; not to be kept behind Take
	Attribution
}

// By is what told whom a report means, a closed set.
type By string

// Ways of attribution, the surest first.
const (
	ByReference  By = "reference"   // the signed header of the message it returns
	ByReturnPath By = "return_path" // the signed address it was sent to, or names
	ByDomain     By = "domain"      // the sender domain it names: anybody can write one
	ByNothing    By = "nothing"
)

// Attribution is whom a report means.
type Attribution struct {
	By          By
	Tenant      tenant.ID        // 0 unattributed
	Account     tenant.AccountID // 0 unknown
	Message     queue.ID         // zero unknown
	Transaction [16]byte         // of the submission; zero unknown
	Rcpt        int              // index in the message's envelope; -1 unknown
	Returned    bool             // it was sent to the return path that Message left with
}

// Sure reports whether the attribution rests on a signature of ours. Only then
// may anything be held against the tenant.
func (a Attribution) Sure() bool { return a.By == ByReference || a.By == ByReturnPath }

// mailbox is a recipient that intake takes mail for.
type mailbox struct {
	address address
	role    bounce.Role
	path    *bounce.ReturnPath // of a return path
}

// roleMailboxes are those of our own domains besides return paths (RFC 2142 §4
// and §5; fbl and complaints are what feedback loops are registered with).
var roleMailboxes = map[string]bounce.Role{
	"abuse": bounce.RoleAbuse, "postmaster": bounce.RoleAbuse, "fbl": bounce.RoleFeedback, "complaints": bounce.RoleFeedback,
	"bounce": bounce.RoleBounce, "bounces": bounce.RoleBounce, "mailer-daemon": bounce.RoleBounce,
}

// judge says which mailbox an address is, or why it is none. Only return paths
// of ours are taken below a tenant's domain: the tenant points the MX of such a
// subdomain here.
func (in *Intake) judge(a address) (*mailbox, *reply) {
	known := in.ours.Load()
	if known.traps[strings.ToLower(a.local+"@"+a.domain)] {
		return &mailbox{address: a, role: bounce.RoleTrap}, nil
	}
	path, err := in.cfg.Signer.ReadLocal(a.local)
	switch ours := known.domains[a.domain]; {
	case err == nil && (ours || in.delegated(path.Tenant, a.domain)):
		return &mailbox{address: a, role: bounce.RoleBounce, path: &path}, nil
	case ours:
		if role, ok := roleMailboxes[strings.ToLower(a.local)]; ok {
			return &mailbox{address: a, role: role}, nil
		}
		return nil, errIntakeNobody
	case in.below(a.domain) != nil:
		// A domain that takes mail has a postmaster (RFC 5321 §4.5.1), and people
		// write to abuse@ of what they see as the sender (RFC 2142 §4).
		role, ok := roleMailboxes[strings.ToLower(a.local)]
		if d := in.below(a.domain); ok && role == bounce.RoleAbuse && in.cfg.State().BounceName(d.Name) == a.domain {
			return &mailbox{address: a, role: role}, nil
		}
		return nil, errIntakeNobody
	}
	return nil, errIntakeRelay
}

// below gives the proved domain that name lies under, or nil.
func (in *Intake) below(name string) *tenant.Domain {
	st := in.cfg.State()
	for {
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		if d := st.Domain(above); d != nil {
			return d
		}
		name = above
	}
}

// delegated reports whether name lies under a domain of the tenant's.
func (in *Intake) delegated(t tenant.ID, name string) bool {
	d := in.below(name)
	return d != nil && d.Tenant == t
}

// attribute finds out whom a report means: by our signatures, else by the
// domains it names. What two signatures say together is put together.
func (in *Intake) attribute(f bounce.Feedback, to *mailbox) Attribution {
	a := Attribution{By: ByNothing, Rcpt: -1}
	for _, v := range f.Clues.Refs {
		if ref, err := in.cfg.Signer.ReadHeader(v); err == nil {
			a.By, a.Tenant, a.Account, a.Transaction = ByReference, ref.Tenant, ref.Account, ref.Transaction
			break
		}
	}
	path := to.path
	for _, v := range f.Clues.Returns {
		if path != nil {
			break
		}
		if p, err := in.cfg.Signer.ReadLocal(v[:strings.LastIndexByte(v, '@')]); err == nil {
			path = &p
		}
	}
	if path != nil && (a.Tenant == 0 || a.Tenant == path.Tenant) {
		if a.By == ByNothing {
			a.By = ByReturnPath
		}
		a.Tenant, a.Rcpt = path.Tenant, path.Rcpt
		a.Message = queue.ID{Tenant: path.Tenant, Epoch: path.Epoch, Seq: path.Seq}
		a.Returned = path == to.path
	}
	if a.By != ByNothing {
		return a
	}
	st := in.cfg.State()
	for _, name := range f.Clues.Domains {
		d := st.Domain(name)
		if d == nil {
			d = in.below(name)
		}
		if d != nil {
			return Attribution{By: ByDomain, Tenant: d.Tenant, Rcpt: -1}
		}
	}
	return a
}
