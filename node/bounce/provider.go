package bounce

import "strings"

// providers are the groups of MX hosts whose words we know, by the ends of
// their names: a name below a provider's domain resolves to what the provider
// says, whoever's mail domain points there.
var providers = []struct {
	name     string
	suffixes []string
	rules    []rule
}{
	{"google", []string{".google.com", ".googlemail.com"}, googleRules},
	{"microsoft", []string{".protection.outlook.com", ".mx.microsoft"}, microsoftRules},
	{"yahoo", []string{".yahoodns.net"}, yahooRules},
	{"icloud", []string{".mail.icloud.com"}, appleRules},
	{"comcast", []string{".comcast.net"}, comcastRules},
	{"cox", []string{".cox.net", ".mx.a.cloudfilter.net"}, coxRules},
	{"spectrum", []string{".charter.net", ".rr.com"}, spectrumRules},
	{"proofpoint", []string{".pphosted.com", ".ppe-hosted.com"}, nil},
	{"mimecast", []string{".mimecast.com"}, mimecastRules},
	{"barracuda", []string{".barracudanetworks.com"}, nil},
	{"gmx", []string{".gmx.net", ".gmx.com", ".web.de", ".kundenserver.de"}, gmxRules},
	{"t-online", []string{".t-online.de"}, tonlineRules},
	{"orange", []string{".orange.fr"}, franceRules},
	{"laposte", []string{".laposte.net"}, franceRules},
	{"free", []string{".free.fr"}, freeRules},
	{"sfr", []string{".sfr.fr", ".neuf.fr"}, sfrRules},
	{"libero", []string{".libero.it", ".virgilio.it", ".iol.it"}, nil},
	{"tim", []string{".tim.it", ".tin.it"}, nil},
	{"tiscali", []string{".tiscali.it"}, nil},
	{"aruba", []string{".aruba.it"}, nil},
	{"kpn", []string{".kpnmail.nl", ".kpn.nl"}, nil},
	{"mail.ru", []string{".mail.ru"}, nil},
	{"qq", []string{".qq.com"}, qqRules},
	{"netease", []string{".163.com", ".netease.com"}, neteaseRules},
	{"yahoo.co.jp", []string{".yahoo.co.jp"}, nil},
}

// ProviderOf names the provider that an MX host (in lower case) belongs to, or
// "". The names are a closed set.
func ProviderOf(host string) string {
	for i := range providers {
		for _, s := range providers[i].suffixes {
			if strings.HasSuffix(host, s) || host == s[1:] {
				return providers[i].name
			}
		}
	}
	return ""
}

// Complains says whether a provider tells senders, or a programme they can take
// part in, of its users' complaints.
func Complains(provider string) bool {
	switch provider {
	case "yahoo", "microsoft", "comcast", "mail.ru", "libero", "tim", "sfr":
		return true
	}
	return false
}

// HostsOf gives the ends of the MX host names of a provider, each with its
// leading dot, or nil.
func HostsOf(provider string) []string {
	for i := range providers {
		if providers[i].name == provider {
			return append([]string(nil), providers[i].suffixes...)
		}
	}
	return nil
}

// byProvider holds the tables of providers that have rules of their own.
var byProvider = func() map[string]*table {
	m := map[string]*table{}
	for _, p := range providers {
		if p.rules != nil {
			m[p.name] = makeTable(p.rules)
		}
	}
	return m
}()
