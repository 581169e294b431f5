package bounce

import (
	"strings"
)

// advice says in plain words what a class of refusal means and what the sender
// of the message can do.
type advice struct{ happened, do string }

var advices = map[string]advice{
	InvalidRecipient: {"There is no mailbox of that name at the recipient's provider.",
		"Check the address for typing errors. If it comes from a list, remove it from the list."},
	InactiveMailbox: {"The mailbox exists, but it is closed or not in use.",
		"Reach the recipient another way and ask for a current address."},
	BadDomain: {"The part after the @ is not a domain that takes mail.",
		"Check the address for typing errors."},
	QuotaIssues: {"The recipient's mailbox is full.",
		"Send the message again later, or reach the recipient another way."},
	SpamContent: {"The recipient's server takes the message for spam.",
		"Look at its wording, links and attachments before you send it again."},
	VirusRelated: {"The recipient's server refused the message for what it contains or has attached.",
		"Check your computer for viruses; send files as a link instead."},
	AuthenticationFailed: {"The recipient's server could not verify that your domain sent the message.",
		"Ask whoever looks after your domain to check its SPF, DKIM and DMARC records."},
	InvalidSender: {"The recipient's server does not accept your sender address or domain.",
		"Check the sender address; ask whoever looks after your domain to check its DNS records and its standing."},
	MessageTooLarge: {"The message is larger than the recipient's server accepts.",
		"Make it smaller, or send large files as a link."},
	PolicyRelated: {"The recipient's server or its administrator does not accept this message.",
		"Ask the recipient to allow your address, or reach them another way."},
	RelayingIssues: {"The server named for the recipient's domain does not accept mail for it.",
		"Check the address. If it is right, the recipient's administrator has to correct the domain's settings."},
	RoutingErrors: {"No way to the recipient's server could be found.",
		"Check the part after the @. If it is right, the recipient's administrator has to correct the domain's settings."},
	ProtocolErrors: {"The recipient's server does not accept the form of the message.",
		"Try a plain message without special formatting, or another mail program."},
	IPBlock: {"The recipient's server refuses mail from the address our server sends from.",
		"Nothing is wrong with your message. Your mail provider has to clear this up."},
	SpamBlock: {"The recipient's server refuses the message for its content or for the address our server sends from.",
		"Look at its wording, links and attachments before you send it again; your mail provider looks after the address."},
	BadConfiguration: {"The recipient's server is not content with the set-up of our server.",
		"Nothing is wrong with your message. Your mail provider has to clear this up."},
	NoAnswerFromHost: {"The recipient's server could not be reached.",
		"Check the part after the @. If it is right, send the message again later."},
	DNSFailure: {"The address of the recipient's server could not be looked up.",
		"Check the part after the @. If it is right, send the message again later."},
}

var unsaid = advice{"The recipient's server did not accept the message.",
	"See its answer below; if it does not help, pass it on to the recipient's administrator."}

var later = map[string]string{
	Greylisting:      "The recipient's server asked us to come back later.",
	QuotaIssues:      "The recipient's mailbox is full.",
	NoAnswerFromHost: "The recipient's server could not be reached.",
	BadConnection:    "The connection to the recipient's server broke.",
	DNSFailure:       "The address of the recipient's server could not be looked up.",
	RateLimited:      "The recipient's server takes only so much mail at a time.",
}

// maxShown bounds the recipients spelled out for people; the status part has all.
const maxShown = 100

// text writes the part for people.
func (w *writer) text(r Report) {
	w.para("This is the mail system at " + r.ReportingMTA + ".")
	for _, group := range [...]struct {
		action Action
		intro  string
	}{
		{Failed, "I am sorry: your message could not be delivered to the recipients named here. No further attempt will be made."},
		{Delayed, "Your message has not reached the recipients named here yet. It is still being tried; you need not send it again."},
		{Relayed, "Your message was passed on to the servers of the recipients named here. They do not report any further, so this is the last you hear of it unless something goes wrong there."},
		{DeliveredTo, "Your message was delivered to the recipients named here."},
	} {
		shown := 0
		for _, rc := range r.Rcpts {
			if rc.Action != group.action {
				continue
			}
			if shown == 0 {
				w.raw("\r\n")
				w.para(group.intro)
			}
			if shown++; shown <= maxShown {
				w.recipient(rc)
			}
		}
		if shown > maxShown {
			w.raw("\r\n")
			w.para("There are more recipients; the second part of this report names all.")
		}
	}
	if len(r.Original) > 0 {
		w.raw("\r\n")
		w.para("The end of this report returns your message or its header, so that you can tell which one it was.")
	}
}

func (w *writer) recipient(rc ReportRcpt) {
	w.raw("\r\n<")
	for i, piece := range pieces(clean(rc.Final, w.utf8)) {
		if i > 0 {
			w.raw("\r\n ")
		}
		w.raw(piece)
	}
	w.raw(">\r\n")
	code, rest := splitReply(rc.Diagnostic)
	v := Classify(Reply{Host: strings.ToLower(rc.RemoteMTA), Code: code, Enhanced: rc.Status, Text: rest})
	switch rc.Action {
	case Failed:
		a, ok := advices[v.Class]
		if !ok {
			a = unsaid
		}
		if strings.HasSuffix(rc.Status, ".4.7") {
			a = advice{"It was tried again and again until its time was up.", "See the last answer below. " +
				"If the address is right, send the message again later."}
		}
		w.indent(a.happened)
		w.indent("What you can do: " + a.do)
	case Delayed:
		if s, ok := later[v.Class]; ok {
			w.indent(s)
		}
		if !rc.RetryUntil.IsZero() {
			w.indent("It will be tried until " + date(rc.RetryUntil) + ".")
		}
	}
	if rc.Diagnostic == "" || rc.Action == Relayed || rc.Action == DeliveredTo {
		return
	}
	if rc.RemoteMTA != "" && code != 0 {
		w.indent("The server " + rc.RemoteMTA + " said:")
	} else {
		w.indent("In detail:")
	}
	w.raw("   ")
	w.fold(clean(rc.Diagnostic, w.utf8), 3, "\r\n    ")
	w.raw("\r\n")
}

// para writes wrapped lines.
func (w *writer) para(s string) {
	w.flow(s, "")
}

func (w *writer) indent(s string) { w.flow(s, "  ") }

func (w *writer) flow(s, margin string) {
	words := strings.Fields(clean(s, w.utf8))
	column := 0
	for _, word := range words {
		for _, piece := range pieces(word) {
			switch {
			case column == 0:
				w.raw(margin + piece)
				column = len(margin) + len(piece)
			case column+1+len(piece) > foldAt:
				w.raw("\r\n" + margin + piece)
				column = len(margin) + len(piece)
			default:
				w.raw(" " + piece)
				column += 1 + len(piece)
			}
		}
	}
	w.raw("\r\n")
}

// pieces cuts what no line can take.
func pieces(word string) []string {
	var list []string
	for len(word) > maxLine {
		cut := maxLine
		for cut > 1 && word[cut]&0xc0 == 0x80 {
			cut--
		}
		list = append(list, word[:cut])
		word = word[cut:]
	}
	return append(list, word)
}
