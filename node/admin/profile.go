package admin

import (
	"net/http"
	"net/http/pprof"
)

// profileRoutes let an operator see where the node's time and memory go, with
// `go tool pprof`. They need the operator's token: a profile names what runs.
func (s *Server) profileRoutes() {
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/trace":   pprof.Trace,
	} {
		s.mux.HandleFunc(pattern, s.operatorOnly(h))
	}
}
