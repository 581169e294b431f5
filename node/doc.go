// Package node is one running appliance: it joins the cluster with queue,
// submission, delivery and admin, and keeps what runs equal to what the
// replicated state says (the reconcile loop, the grants).
//
// It hides who is wired to whom. It must never decide what tenant decides.
package node
