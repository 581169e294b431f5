package dnsbl

import (
	"fmt"
	"testing"

	"postern/tenant"
)

func TestJudgeHealth(t *testing.T) {
	listed, clean := tenant.Answer{Kind: tenant.AnswerListed}, tenant.Answer{Kind: tenant.AnswerClean}
	refused := func(w tenant.Why) tenant.Answer { return tenant.Answer{Kind: tenant.AnswerRefused, Why: w} }
	unknown := func(w tenant.Why) tenant.Answer { return tenant.Answer{Why: w} }
	for _, c := range []struct {
		listed, absent, random tenant.Answer
		want                   string
	}{
		{listed, clean, clean, "usable "},
		// A code that the zones file does not know proves that the point is there.
		{unknown(tenant.WhyCode), clean, clean, "usable "},
		{clean, clean, clean, "broken test point missing"},
		{listed, listed, clean, "broken lists everything"},
		{listed, unknown(tenant.WhyCode), clean, "broken lists everything"},
		{listed, listed, listed, "broken wildcard"},
		{listed, clean, listed, "broken wildcard"},
		{listed, clean, unknown(tenant.WhyCode), "broken wildcard"},
		{unknown(tenant.WhyOutside), unknown(tenant.WhyOutside), unknown(tenant.WhyOutside), "broken outside 127/8"},
		{listed, clean, unknown(tenant.WhyOutside), "broken outside 127/8"},
		{refused(tenant.WhyOpenResolver), refused(tenant.WhyOpenResolver), clean, "refused open resolver"},
		{listed, clean, refused(tenant.WhyOverLimit), "refused over limit"},
		{unknown(tenant.WhyTimeout), unknown(tenant.WhyTimeout), unknown(tenant.WhyTimeout), "unreachable timeout"},
		{listed, clean, unknown(tenant.WhyTimeout), "unreachable timeout"},
		{listed, unknown(tenant.WhyServFail), clean, "unreachable servfail"},
		{unknown(tenant.WhyServFail), clean, clean, "unreachable servfail"},
		{tenant.Answer{}, clean, clean, "unreachable "},
	} {
		state, why := judgeHealth(c.listed, c.absent, c.random)
		if got := fmt.Sprintf("%s %s", state, why); got != c.want {
			t.Errorf("%+v: %s, want %s", c, got, c.want)
		}
		h := Health{State: state, Why: why}
		if a := h.answer(); state != Usable && (a.Says() || a.Why == "") {
			t.Errorf("%s: stands for %+v", c.want, a)
		}
	}
}
