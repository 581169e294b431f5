package cluster

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	rpcTimeout = 10 * time.Second
	rpcPool    = 3
)

// newTransport is the one seam between raft and the other nodes. Without a
// layer raft speaks to nobody: a cluster of one. A server's address is its
// node's name; the layer's Dial turns it into a place, so that a node that
// moves needs no change of raft's configuration.
func newTransport(name string, layer raft.StreamLayer, log hclog.Logger) raft.Transport {
	if layer == nil {
		_, t := raft.NewInmemTransport(raft.ServerAddress(name))
		return t
	}
	return raft.NewNetworkTransportWithConfig(networkConfig(layer, log))
}

// networkConfig is a network transport's configuration. One request in flight
// and no more: with the default of two, a follower whose disk failed for a
// moment can stay without entries for ever while heartbeats call it healthy.
func networkConfig(layer raft.StreamLayer, log hclog.Logger) *raft.NetworkTransportConfig {
	return &raft.NetworkTransportConfig{
		Stream:          layer,
		Logger:          log,
		MaxPool:         rpcPool,
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
	}
}
