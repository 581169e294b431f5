// Package tenant is the pure domain of Postern: the replicated state machine
// itself. It holds who may send (tenants, accounts, domains, plans), from where
// (nodes, sources, pools), who owns whom and under which epoch, and what may
// still be spent (grants).
//
// It hides every decision: a shell (cluster, node) observes, proposes a Command
// and carries out what the resulting State and Events say.
//
// It must never read a clock, draw a random number, start a goroutine, take a
// lock, touch a file or a socket, or log: all of that travels inside the
// Command. Two nodes that apply the same commands hold equal bytes.
package tenant
