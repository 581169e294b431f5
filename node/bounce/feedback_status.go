package bounce

import "strings"

// statusRcpts reads the fields of a delivery status (RFC 3464 §2). Some
// programs leave out the empty lines between the groups, so a second
// Final-Recipient begins a recipient too.
func (r *reader) statusRcpts() []FeedbackRcpt {
	var list []FeedbackRcpt
	var group []headField
	open := false
	flush := func() {
		if open && len(list) < maxFailed {
			if rc, ok := statusRcpt(group); ok {
				list = append(list, rc)
			}
		}
		group, open = nil, false
	}
	for _, f := range r.status {
		switch f.name {
		case "":
			flush()
			continue
		case "final-recipient":
			if first(group, f.name) != "" {
				flush()
			}
			open = true
		case "original-recipient", "action", "status":
			open = true
		}
		group = append(group, f)
	}
	flush()
	return list
}

// statusRcpt reads one group.
func statusRcpt(group []headField) (FeedbackRcpt, bool) {
	rc := FeedbackRcpt{Addr: mailbox(first(group, "final-recipient")), Status: statusIn(first(group, "status"))}
	// The address we wrote to says more than the one it was forwarded to.
	if o := mailbox(first(group, "original-recipient")); o != "" {
		rc.Addr = o
	} else if x := mailbox(first(group, "x-actual-recipient")); rc.Addr == "" {
		rc.Addr = x
	}
	diagnosis := first(group, "diagnostic-code")
	if kind, rest, ok := strings.Cut(diagnosis, ";"); ok && len(kind) < 20 {
		diagnosis = strings.TrimSpace(rest)
	}
	rc.Text = cutText(diagnosis, maxRead)
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(first(group, "action"))), " ")
	switch a := Action(strings.Trim(word, ";,.()")); a {
	case Failed, Delayed, DeliveredTo, Relayed:
		rc.Action = a
	case "expanded":
		rc.Action = DeliveredTo
	case "failure", "permanent", "undeliverable":
		rc.Action = Failed
	default:
		switch {
		case strings.HasPrefix(rc.Status, "5"):
			rc.Action = Failed
		case strings.HasPrefix(rc.Status, "4"):
			rc.Action = Delayed
		case strings.HasPrefix(rc.Status, "2"):
			rc.Action = DeliveredTo
		default:
			return rc, false
		}
	}
	host := first(group, "remote-mta")
	if _, rest, ok := strings.Cut(host, ";"); ok {
		host = rest
	}
	rc.read(strings.ToLower(strings.Trim(host, " .")))
	return rc, true
}

// read classifies a recipient's diagnosis. A failure without a code is one for
// good: that is what the report says.
func (rc *FeedbackRcpt) read(host string) {
	if rc.Action != Failed && rc.Action != Delayed {
		return
	}
	code, enhanced := codeIn(rc.Text), rc.Status
	if enhanced == "" || strings.HasSuffix(enhanced, ".0.0") {
		if s := statusIn(rc.Text); s != "" {
			enhanced = s
		}
	}
	if code == 0 {
		code = 450
		if rc.Action == Failed {
			code = 550
		}
	}
	rc.Verdict = Classify(Reply{Host: host, Code: code, Enhanced: enhanced, Text: rc.Text})
}
