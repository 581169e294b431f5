package tenant

import "time"

// Copy says who holds the second copy of a tenant's log from a generation on.
type Copy struct {
	Generation uint64 // grows with every change of holder; never reused
	Node       NodeID // 0: nobody but who wrote the log of that epoch
	Epoch      uint64 // the owner's, under which it was made
	First      uint64 // first sequence of that epoch's log the holder gets live
}

// End says how far the log of a past epoch was taken in by a later owner. What
// its writer has beyond Last it hands over when it returns.
type End struct {
	Epoch uint64
	Node  NodeID // who wrote it
	Last  uint64 // 0: nothing
}

// JoinToken lets nodes in until it expires.
type JoinToken struct {
	Hash    [32]byte // SHA-256 of the token's secret
	Expires time.Time
	Witness bool   // the node that comes in by it has no sources and owns nothing
	Node    string // only a node of this name; "" is any
}

// Authority is what the cluster signs and talks with. Keys are AEAD ciphertext.
type Authority struct {
	Cluster      [16]byte // random id of the cluster; label of gossip
	Cert         []byte   // DER of the certificate authority
	SealedKey    []byte   // its PKCS #8 key
	SealedGossip []byte   // 32-octet gossip key
}
