package admin

import (
	"context"
	"net/http"
	"time"

	"postern/tenant"
)

// Enrolment is how far a source's enrolment in a receiver's programme is. It is
// the operator's word: nothing of it can be asked by a program.
type Enrolment struct {
	Programme string     `json:"programme" enum:"snds,jmrp,t-online,yahoo-cfl,postmaster-tools,abuse-contact"`
	State     string     `json:"state" enum:"to-do,applied,done,not-needed"`
	At        *time.Time `json:"at,omitempty" doc:"When it came into that state"`
	Note      string     `json:"note,omitempty"`
}

// SetEnrolment notes how far an enrolment is.
type SetEnrolment struct {
	State string `json:"state" enum:"to-do,applied,done,not-needed"`
	Note  string `json:"note,omitempty" maxLength:"500"`
}

func (s *Server) enrolRoutes() {
	type set struct {
		Keyed
		Addr      string `path:"addr" maxLength:"45"`
		Programme string `path:"programme" maxLength:"40"`
		Body      SetEnrolment
	}
	register(s, in{verb: http.MethodPut, path: "/v1/sources/{addr}/enrolments/{programme}", id: "enrol-source", tag: "source",
		does: "Note how far a source's enrolment in a receiver's programme is"},
		func(ctx context.Context, _ caller, i *set) (*out[Source], error) {
			x := sourceByText(s.cfg.State(), i.Addr)
			if x == nil {
				return nil, absent("source", i.Addr)
			}
			p, err := tenant.ParseProgramme(i.Programme)
			if err != nil {
				return nil, s.fail(ctx, "read programme", err)
			}
			state, err := tenant.ParseEnrolState(i.Body.State)
			if err != nil {
				return nil, s.fail(ctx, "read state", err)
			}
			_, st, err := s.propose(ctx, i.Keyed, tenant.Enrol{Source: x.ID, Programme: p, State: state, Note: i.Body.Note})
			if err != nil {
				return nil, err
			}
			if x = st.Source(x.ID); x == nil {
				return nil, absent("source", i.Addr)
			}
			return reply(viewSource(st, x)), nil
		})
}

func viewEnrolments(st *tenant.State, id tenant.SourceID) []Enrolment {
	all := []Enrolment{}
	for _, e := range st.Enrolments(id) {
		v := Enrolment{Programme: e.Programme.String(), State: e.State.String(), Note: e.Note}
		if !e.At.IsZero() {
			at := e.At.UTC()
			v.At = &at
		}
		all = append(all, v)
	}
	return all
}
