// Package lab is a pretend Internet on loopback: a DNS server, mail exchangers
// with moods, real DNSBL servers, loads, and the ledger that balances what was
// accepted against what arrived. For the demo, tests and benchmarks.
//
// It must never be used by the product itself: only cmd and tests import it.
package lab
