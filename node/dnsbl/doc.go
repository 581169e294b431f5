// Package dnsbl asks DNS lists (RFC 5782) about addresses and domains, tests
// each list before it believes it, and keeps what it was told as observations.
//
// It hides how a list is asked: names of questions, keys, resolvers, retries,
// query policy, test points and the times of rounds. What an answer leads to is
// decided by package tenant.
//
// It must never take silence, an error or a lie for a listing or for "clean",
// and never show the key of a keyed zone.
package dnsbl
