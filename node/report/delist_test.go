package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestDelist(t *testing.T) {
	for _, x := range []struct {
		zone  string
		codes []string
		says  string
		again time.Duration
		ask   bool
	}{
		{"zen.spamhaus.org", []string{"127.0.0.2", "127.0.0.3"}, "SBL", day, true},
		{"zen.spamhaus.org", []string{"127.0.0.3"}, "CSS", day, true},
		{"key.zen.dq.spamhaus.net", []string{"127.0.0.4", "127.0.0.11"}, "XBL", day, true},
		{"zen.spamhaus.org", []string{"127.0.0.10"}, "PBL", day, true},
		{"zen.spamhaus.org", nil, "once a day", day, true},
		{"bl.spamcop.net", []string{"127.0.0.2"}, "nothing to ask", 0, false},
		{"bl.mailspike.net", []string{"127.0.0.10"}, "form", 36 * time.Hour, true},
		{"dnsbl-1.uceprotect.net", []string{"127.0.0.2"}, "do not pay", 0, false},
		{"notspamcop.net", []string{"127.0.0.2"}, "once a day", day, true},
		{"zen.test", []string{"2001:db8::1"}, "once a day", day, true},
	} {
		var codes []netip.Addr
		for _, c := range x.codes {
			codes = append(codes, netip.MustParseAddr(c))
		}
		if d := Delist(x.zone, codes); !strings.Contains(d.How, x.says) || d.Again != x.again || d.Ask != x.ask {
			t.Errorf("%s %v: %+v, want %q %v %t", x.zone, x.codes, d, x.says, x.again, x.ask)
		}
	}
}
