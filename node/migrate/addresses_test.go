package migrate

import (
	"fmt"
	"strings"
	"testing"

	"postern/node/admin"
	"postern/tenant"
)

func importAll(text string) (all []admin.SuppressAddress, err error) {
	err = ReadAddresses(strings.NewReader(text), func(part []admin.SuppressAddress) error {
		if len(part) == 0 || len(part) > AddressesAtOnce {
			return fmt.Errorf("a part of %d", len(part))
		}
		all = append(all, part...)
		return nil
	}, func(x *NoAddress) error { return x })
	return all, err
}

func TestReadAddresses(t *testing.T) {
	for _, x := range []struct {
		name, text string
		want       []string // address reason text
		err        string
	}{
		{"plain", "a@x.test\n\n# gone\nb@x.test\r\n", []string{"a@x.test||", "b@x.test||"}, ""},
		{"with why", "a@x.test,user unknown\n", []string{"a@x.test||user unknown"}, ""},
		{"a heading", "\ufeffaddress;text\na@x.test\n", []string{"a@x.test||"}, ""},
		{"as exported", "address,reason,class,code,status,text\na@x.test,complaint,,,,\n'=b@x.test,bounce,InvalidRecipient,550,5.1.1,no such user\n",
			[]string{"a@x.test|complaint|", "=b@x.test||550 5.1.1 no such user"}, ""},
		{"an access table", "a@x.test\tREJECT user unknown\nb@x.test DISCARD\nC@x.test 550 5.1.1 gone\n", []string{"a@x.test||user unknown", "b@x.test||", "C@x.test||550 5.1.1 gone"}, ""},
		{"what an access table lets in", "a@x.test REJECT\nb@x.test OK\n", nil, "line 2: \"b@x.test\" is not refused for good: OK"},
		{"a domain of an access table", "x.test REJECT\n", nil, "line 1: \"x.test\" is no address"},
		{"no address", "a@x.test\nnobody\n", nil, "line 2: \"nobody\" is no address"},
		{"too long", strings.Repeat("a", maxAddressLine+1), nil, "longer than 4096 octets"},
		{"nothing", "", nil, ""},
	} {
		all, err := importAll(x.text)
		if x.err != "" || err != nil {
			if x.err == "" || err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%s: %v, want %q", x.name, err, x.err)
			}
			continue
		}
		var got []string
		for _, a := range all {
			got = append(got, strings.TrimRight(a.Address+"|"+a.Reason+"|"+a.Text, " "))
		}
		if fmt.Sprint(got) != fmt.Sprint(x.want) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

func FuzzReadAddresses(f *testing.F) {
	f.Add("address,reason\na@x.test,complaint\n")
	f.Add("a@x.test,\"un\"quoted\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := importAll(text)
		for _, a := range all {
			if !tenant.ValidAddress(strings.ToLower(a.Address)) || len(a.Text) > 400 {
				t.Errorf("%q of %q", a, text)
			}
		}
	})
}
