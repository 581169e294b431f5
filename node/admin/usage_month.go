package admin

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/tenant"
)

// monthLayout is how a month is written.
const monthLayout = "2006-01"

// ReadMonth reads a month as 2026-10.
func ReadMonth(text string) (tenant.Window, error) {
	t, err := time.Parse(monthLayout, text)
	if w := tenant.WindowAt(tenant.Month, t); err == nil && w.Valid() {
		return w, nil
	}
	return tenant.Window{}, fmt.Errorf("read month: it is written as 2026-10")
}

// exportRequest asks for one month.
type exportRequest struct {
	Paged
	Month  string `query:"month" required:"true" maxLength:"7" doc:"As 2026-10, in UTC"`
	Tenant string `query:"tenant" maxLength:"63"`
	Format string `query:"format" enum:"csv,json" doc:"Absent: as Accept says, else JSON"`
	Accept string `header:"Accept"`
}

func (r *exportRequest) csv() bool {
	return r.Format == "csv" || r.Format == "" && strings.Contains(r.Accept, "text/csv")
}

func (s *Server) exportRoutes() {
	page := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[MonthPage](), true, "MonthPage")
	register(s, in{verb: http.MethodGet, path: "/v1/usage/export", id: "export-usage", tag: "usage", access: tenantToo,
		does: "Say what accounts used in a month, for bills: JSON by pages, or all of it as CSV",
		answer: &huma.Response{Description: "The month", Content: map[string]*huma.MediaType{
			"application/json": {Schema: page},
			"text/csv":         {Schema: &huma.Schema{Type: huma.TypeString}}}}},
		func(_ context.Context, who caller, i *exportRequest) (*huma.StreamResponse, error) {
			st := s.cfg.State()
			only, err := filterTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			w, err := ReadMonth(i.Month)
			if err != nil {
				return nil, badField("query.month", i.Month, "is no month as 2026-10")
			}
			p, err := monthPage(st, w, only)
			if err != nil {
				return nil, err
			}
			if i.csv() {
				return &huma.StreamResponse{Body: func(c huma.Context) {
					c.SetHeader("Content-Type", "text/csv; charset=utf-8; header=present")
					c.SetHeader("Content-Disposition", `attachment; filename="usage-`+p.Month+`.csv"`)
					out := NewMonthCSV(c.BodyWriter())
					_ = out.Write(p) // an error is the client's having gone
				}}, nil
			}
			items := cut(p.Items, i.Paged, monthKey, strings.Compare)
			p.Items, p.Next = items.Items, items.Next
			return &huma.StreamResponse{Body: func(c huma.Context) {
				c.SetHeader("Content-Type", "application/json")
				_ = json.NewEncoder(c.BodyWriter()).Encode(p) // as above
			}}, nil
		})
}

// monthKey is the order of a bill's lines. A name may come twice: of an account
// that was removed, and of one that has its name now.
func monthKey(u MonthUsage) string {
	return u.Tenant + " " + u.Account + " " + fmt.Sprintf("%020d", u.AccountID)
}

func monthPage(st *tenant.State, w tenant.Window, only tenant.ID) (MonthPage, error) {
	month := time.Unix(w.Start, 0).UTC().Format(monthLayout)
	state := st.MonthState(w)
	switch state {
	case tenant.MonthToCome:
		return MonthPage{}, problem(http.StatusNotFound, "ask for one that has begun", "month %s is still to come", month)
	case tenant.MonthGone:
		return MonthPage{}, problem(http.StatusNotFound, "use is kept for two years: export it while it is", "month %s is out of keeping", month)
	}
	p := MonthPage{Month: month, State: state.String(), Provisional: state != tenant.MonthClosed, Items: []MonthUsage{}}
	for _, u := range st.MonthUses(w, only) {
		over := u.Over()
		v := MonthUsage{Tenant: u.TenantName, Customer: u.Customer, Account: u.Username, AccountID: uint64(u.Account),
			Mails: u.Used.Mails, Bytes: u.Used.Bytes, MailsOver: over.Mails, BytesOver: over.Bytes}
		if u.Plan != nil {
			v.Plan, v.MailsLimit, v.BytesLimit = planKind(*u.Plan), u.Plan.MailsPerMonth, u.Plan.BytesPerMonth
		}
		p.Items = append(p.Items, v)
	}
	p.Items = cut(p.Items, Paged{}, monthKey, strings.Compare).Items
	return p, nil
}

// planKind names a plan by what it limits.
func planKind(p tenant.Plan) string {
	switch {
	case p.BytesPerMonth > 0:
		return "bandwidth"
	case p.MailsPerMonth > 0:
		return "count"
	}
	return "flat"
}

// monthColumns is a CSV's first row. New columns come behind; none changes its
// meaning.
var monthColumns = []string{"month", "state", "tenant", "customer", "account", "account_id", "plan",
	"mails", "bytes", "mails_limit", "bytes_limit", "mails_over", "bytes_over"}

// MonthCSV writes months as CSV (RFC 4180): a first row with names, lines that
// end in CR LF, numbers without marks, an empty cell for no limit. A cell that a
// spreadsheet would compute begins with an apostrophe.
type MonthCSV struct {
	out   *csv.Writer
	begun bool
}

// NewMonthCSV writes to w.
func NewMonthCSV(w io.Writer) *MonthCSV {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	return &MonthCSV{out: out}
}

// Write writes a page, the first one behind the row of names.
func (m *MonthCSV) Write(p MonthPage) error {
	if !m.begun {
		m.begun = true
		_ = m.out.Write(monthColumns) // Error below tells
	}
	limit := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	for _, u := range p.Items {
		_ = m.out.Write([]string{p.Month, p.State, plainCell(u.Tenant), plainCell(u.Customer), plainCell(u.Account), number(u.AccountID), u.Plan,
			number(u.Mails), number(u.Bytes), limit(u.MailsLimit), limit(u.BytesLimit), number(u.MailsOver), number(u.BytesOver)})
	}
	m.out.Flush()
	if err := m.out.Error(); err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	return nil
}

// plainCell keeps spreadsheets from taking a text for a formula. Names of tenants
// and accounts may begin so: =cmd@shoes.example is an address.
func plainCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
