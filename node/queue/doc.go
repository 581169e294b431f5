// Package queue keeps the tenants' durable logs: every message that got its 250,
// what was started, what came of it, and what it spent.
//
// It hides how that is stored (pebble, chunk files, key layout, the due index
// and its windows) and the order of writes that makes a crash harmless. See
// DESIGN.md.
//
// It must never decide when to retry, where to send or what to tell a sender,
// never hold the whole queue in memory, and never set one pebble key twice.
package queue
