// Package submission is the tenants' way in: SMTP submission (RFC 6409) on 587
// and 2525 with STARTTLS and on 465 with TLS.
//
// It hides the SMTP server library behind guards of its own: what reaches the
// library is already decrypted, line-clean and bounded in time and size.
//
// It must never say 250 before the queue has the message, show a tenant the
// state of another, reveal a client's address in a message, or let internal
// error text out.
package submission
