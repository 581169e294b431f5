package admin

import (
	"context"
	"net/http"
	"time"

	"postern/tenant"
)

// Notices is where the operator, and tenants, are told what happened.
type Notices struct {
	Operators []string        `json:"operators" nullable:"false"`
	From      string          `json:"from,omitempty"`
	Smarthost string          `json:"smarthost,omitempty" doc:"HOST:PORT outside the cluster"`
	User      string          `json:"user,omitempty"`
	Plain     bool            `json:"plain,omitempty" doc:"Without TLS"`
	Webhook   string          `json:"webhook,omitempty"`
	Tenants   bool            `json:"tenants" doc:"Tenants are told at their reference addresses"`
	Waiting   []WaitingNotice `json:"waiting" nullable:"false"`
}

// WaitingNotice is a notice that has not been taken yet.
type WaitingNotice struct {
	At      time.Time  `json:"at"`
	Act     string     `json:"act"`
	Subject string     `json:"subject"`
	To      string     `json:"to" doc:"An address, or webhook"`
	Tries   uint64     `json:"tries"`
	Next    *time.Time `json:"next,omitempty"`
	Error   string     `json:"error,omitempty" doc:"Of the last try"`
}

// SetNotices replaces where notices go; all absent ends them.
type SetNotices struct {
	Operators []string `json:"operators,omitempty" maxItems:"8"`
	From      string   `json:"from,omitempty" maxLength:"254"`
	Smarthost string   `json:"smarthost,omitempty" maxLength:"259"`
	User      string   `json:"user,omitempty" maxLength:"254"`
	Password  string   `json:"password,omitempty" maxLength:"500" doc:"Absent: that of the same user stays"`
	Plain     bool     `json:"plain,omitempty" doc:"Without TLS: for a smarthost on a network of your own, and without a password"`
	Webhook   string   `json:"webhook,omitempty" maxLength:"500"`
	Secret    string   `json:"secret,omitempty" maxLength:"500" doc:"The webhook is signed with it; absent: that of the same URL stays"`
	Tenants   bool     `json:"tenants,omitempty"`
}

func (s *Server) noticeRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/notices", id: "get-notices", tag: "notices", does: "Show where notices go, and which wait"},
		func(_ context.Context, _ caller, _ *struct{}) (*out[Notices], error) {
			return reply(viewNotices(s.cfg.State())), nil
		})
	type set struct {
		Keyed
		Body SetNotices
	}
	register(s, in{verb: http.MethodPut, path: "/v1/notices", id: "set-notices", tag: "notices", does: "Say where notices go"},
		func(ctx context.Context, _ caller, i *set) (*out[Notices], error) {
			n, err := s.readNotices(i.Body)
			if err != nil {
				return nil, err
			}
			_, st, err := s.propose(ctx, i.Keyed, tenant.SetNotices{Notices: n})
			if err != nil {
				return nil, err
			}
			return reply(viewNotices(st)), nil
		})
	register(s, in{verb: http.MethodPost, path: "/v1/notices/test", id: "test-notices", tag: "notices", does: "Send a notice every way the operator has"},
		func(ctx context.Context, _ caller, i *Keyed) (*out[Notices], error) {
			_, st, err := s.propose(ctx, *i, tenant.TestNotices{})
			if err != nil {
				return nil, err
			}
			return reply(viewNotices(st)), nil
		})
}

// readNotices seals what is secret; what is not given again stays.
func (s *Server) readNotices(b SetNotices) (tenant.Notices, error) {
	n := tenant.Notices{Operators: b.Operators, From: b.From, Smarthost: b.Smarthost, User: b.User, Plain: b.Plain, Webhook: b.Webhook, Tenants: b.Tenants}
	if old := s.cfg.State().Notices(); old != nil {
		if old.User == n.User && n.User != "" {
			n.SealedPassword = old.SealedPassword
		}
		if old.Webhook == n.Webhook && n.Webhook != "" {
			n.SealedSecret = old.SealedSecret
		}
	}
	for _, x := range []struct {
		name, text string
		to         *[]byte
	}{{SealPassword, b.Password, &n.SealedPassword}, {SealSecret, b.Secret, &n.SealedSecret}} {
		if x.text == "" {
			continue
		}
		if s.cfg.SealText == nil {
			return n, problem(http.StatusConflict, "set secret_key_file in the configuration", "this node cannot keep secrets")
		}
		sealed, err := s.cfg.SealText(x.name, []byte(x.text))
		if err != nil {
			return n, badField("body", "", "%s", err)
		}
		*x.to = sealed
	}
	return n, nil
}

// What the secrets of notices are sealed for.
const (
	SealPassword = "notices password"
	SealSecret   = "notices webhook"
)

func viewNotices(st *tenant.State) Notices {
	v := Notices{Operators: []string{}, Waiting: []WaitingNotice{}}
	n := st.Notices()
	if n == nil {
		return v
	}
	v.Operators = append(v.Operators, n.Operators...)
	v.From, v.Smarthost, v.User, v.Plain, v.Webhook, v.Tenants = n.From, n.Smarthost, n.User, n.Plain, n.Webhook, n.Tenants
	for x := range st.Outbox() {
		w := WaitingNotice{At: x.At, Act: x.Act, Subject: x.Subject, To: x.To, Tries: x.Tries, Next: instant(x.Due()), Error: x.Error}
		if x.To == "" {
			w.To = "webhook"
		}
		v.Waiting = append(v.Waiting, w)
	}
	return v
}
