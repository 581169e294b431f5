package migrate

import "strings"

// otherSettings are what people set in main.cf that has no like here, or is done
// in another way.
var otherSettings = []struct{ name, why, do string }{
	{"relayhost", "here mail goes to the recipients' own hosts", "a smarthost for all of it is a route of *: postern node route set"},
	{"mynetworks", "nobody sends without a password here, unless an account says from where", "postern account set ADDRESS --network CIDR"},
	{"content_filter", "mail is not given to filters here", "let the customer's server filter it before"},
	{"smtpd_milters", "mail is not given to filters here; signing is done by Postern itself", "let the customer's server filter it before"},
	{"non_smtpd_milters", "mail is not given to filters here; signing is done by Postern itself", ""},
	{"header_checks", "headers are not changed by rules here", ""},
	{"body_checks", "bodies never change here", ""},
	{"smtp_header_checks", "headers are not changed by rules here", ""},
	{"canonical_maps", "addresses are not rewritten here", "let the customer's program write them as they shall be"},
	{"sender_canonical_maps", "addresses are not rewritten here", "let the customer's program write them as they shall be"},
	{"recipient_canonical_maps", "addresses are not rewritten here", ""},
	{"smtp_generic_maps", "addresses are not rewritten here", "let the customer's program write them as they shall be"},
	{"masquerade_domains", "addresses are not rewritten here", ""},
	{"virtual_alias_maps", "recipients are not rewritten here", ""},
	{"always_bcc", "nothing is copied here", ""},
	{"sender_bcc_maps", "nothing is copied here", ""},
	{"recipient_bcc_maps", "nothing is copied here", ""},
	{"smtp_tls_policy_maps", "every host is offered TLS here, and no policy by domain is kept", ""},
	{"smtp_sasl_password_maps", "no host is logged in to here", ""},
	{"smtpd_client_message_rate_limit", "limits are each account's", "postern account set ADDRESS --limit minute=N"},
	{"smtpd_client_recipient_rate_limit", "limits are each account's", "postern account set ADDRESS --limit minute=N"},
	{"bounce_queue_lifetime", "how long mail is tried is the node's setting", "see retry in postern.yaml"},
	{"maximal_queue_lifetime", "how long mail is tried is the node's setting", "see retry in postern.yaml"},
}

// others tells of settings that are not carried.
func (b *builder) others() {
	for _, x := range otherSettings {
		if _, set := b.main.own(x.name); !set {
			continue
		}
		value, err := b.main.value(x.name)
		if err != nil {
			value = b.main.raw(x.name)
		}
		if value == "" || x.name == "mynetworks" && local(value) {
			continue
		}
		b.left(x.name+" = "+clip(strings.Join(strings.Fields(value), " ")), x.why, x.do)
	}
	for _, name := range []string{"smtpd_recipient_restrictions", "smtpd_relay_restrictions", "smtpd_sender_restrictions", "smtpd_data_restrictions", "smtpd_end_of_data_restrictions", "smtpd_client_restrictions"} {
		if value, err := b.main.value(name); err == nil && strings.Contains(value, "check_policy_service") {
			b.left("check_policy_service in "+name, "no policy server is asked here", "quotas and limits are each account's: postern account set")
		}
	}
}

// local says whether networks are the machine's own.
func local(value string) bool {
	for _, w := range words(value) {
		if !strings.HasPrefix(w, "127.") && !strings.HasPrefix(w, "[::1") && !strings.HasPrefix(w, "[::ffff:127.") {
			return false
		}
	}
	return true
}
