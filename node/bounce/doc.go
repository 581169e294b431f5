// Package bounce reads and writes the language of failed mail: it classifies
// SMTP replies and composes delivery status notifications (RFC 3464).
//
// It is pure: values in, values out. It must never open a connection, read a
// clock or know a queue.
package bounce
