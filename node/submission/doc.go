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
// Any node takes any tenant's client. TLS, AUTH, syntax, and limits of
// connections are the business of the session, where the client is. All else
// is a transaction's, which is always at the owner of the tenant and knows
// nothing of SMTP. At each MAIL the session looks up who that is: itself, and
// the transaction begins here; or another node, and the session drives it there
// in frames over the peer port (frame.go, words.go): remote.go is the near
// side, peer.go the far one. The owner's replies go out as they are, so a
// client cannot tell the difference. What a client pipelines goes to the owner
// at once, and its replies are filled in as they come (promise.go).
//
// Until the owner has said yes to MAIL nothing is lost when it goes: the client
// waits, and the next owner is asked the same. Between MAIL and the end of the
// message the client is told 451. Behind the end the message may have been
// kept: whoever owns the tenant then is asked for its transaction id (ask.go),
// and answers once it has adopted the tenant and no Put of that id can come any
// more. What it has it calls kept when two nodes have it. It is never sent twice.
//
// What changes in a message: a bare LF becomes CRLF (a bare CR or a NUL refuses
// it), Bcc and Return-Path go, and with them every field known to carry the
// client's address, login or scripts: X-Originating-IP and its kin, and all
// Received fields but those made here (header.go has the list). Date and
// Message-ID are added where they lack; then come one Received line, which
// names the tenant's own host name and nothing of the client, the signed
// reference by which a report about the message is known, and the DKIM
// signature. From then on its octets never change.
//
// Passwords made here are compared at once; the hashes of imported ones are slow
// by intent and go through a gate (gate.go), so that no flood of logins can use up
// the processor or the memory.
//
// Where balancers are named (Config.ProxyFrom), their connections begin with a
// PROXY header (balancer.go): limits, networks and the log are by the client it
// names. Nobody else's is read.
//
// The intake (intake.go) is a server of its own for port 25: it takes reports
// about mail long sent for our own addresses, reads them, finds out whom they
// mean and hands them to the node. It passes nothing on.
//
// It must never say 250 before the queue has the message, show a tenant the
// state of another, reveal a client's address in a message or to another node,
// refuse a good recipient for good because of a limit of ours, or let internal
// error text out.
package submission
