// Package delivery takes due mail out of the queue and hands it to the
// recipients' servers: ready queues fair between tenants, limits per source and
// provider, MX resolution, TLS policy, and the SMTP client.
//
// It hides how a message reaches a host and when it is tried again.
//
// It must never change a message's bytes, leave through an address that is not
// the tenant's source, send a final dot without having recorded Start and
// having asked MayDot, or bounce a message for a fault of our own.
package delivery
