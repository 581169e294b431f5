// Package submission is the tenants' way in: SMTP submission (RFC 6409) on 587
// and 2525 with STARTTLS and on 465 with TLS.
//
// It hides the SMTP server library (the engine) behind guards of its own. The
// engine reads from a wire, which ends TLS, runs AUTH and hands over one
// checked command line at a time; it corrects the replies on their way out.
// Message bodies do not pass the engine: it is shown DATA, the session takes
// the body from the wire to its true end (CRLF.CRLF, or the last BDAT chunk),
// and then the engine is shown a lone dot. So a connection is one goroutine,
// and nothing the engine does to bodies, chunks or addresses matters.
//
// What changes in a message: a bare LF becomes CRLF (a bare CR or a NUL refuses
// it), Bcc and Return-Path go, and with them every field known to carry the
// client's address, login or scripts: X-Originating-IP and its kin, and all
// Received fields but those made here (header.go has the list). Date and
// Message-ID are added where they lack; then come one Received line, which
// names the tenant's own host name and nothing of the client, and the DKIM
// signature. From then on its octets never change.
//
// It must never say 250 before the queue has the message, show a tenant the
// state of another, reveal a client's address in a message, refuse a good
// recipient for good because of a limit of ours, or let internal error text
// out.
package submission
