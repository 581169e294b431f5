package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// Bounds of one request and of all of them.
const (
	maxBody     = 64 << 10 // a DKIM key is the largest thing sent
	maxHeader   = 16 << 10
	maxConns    = 256
	proposeWait = 15 * time.Second
	drainWait   = 5 * time.Second
)

// Server is the node's HTTP side. New starts nothing; Run serves.
type Server struct {
	cfg Config
	log *slog.Logger
	mux *http.ServeMux
	api huma.API
	// peers is nil in a cluster of one.
	peers *peers
	// backup is when one was last given, in Unix nanoseconds; 0: never.
	backup atomic.Int64
}

// New checks cfg and lays out the routes.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.DialNode != nil {
		s.peers = newPeers(cfg.Node, cfg.DialNode)
	}
	s.api = humago.New(s.mux, s.openAPI())
	s.api.UseMiddleware(s.guard)
	s.statusRoutes()
	s.nodeRoutes()
	s.runningRoutes()
	s.clusterRoutes()
	s.planRoutes()
	s.sourceRoutes()
	s.listingRoutes()
	s.domainListingRoutes()
	s.caseRoutes()
	s.journalRoutes()
	s.delistRoutes()
	s.noticeRoutes()
	s.retentionRoutes()
	s.eraseRoutes()
	s.dataRoutes()
	s.banRoutes()
	s.closeRoutes()
	s.customerRoutes()
	s.tenantRoutes()
	s.stopRoutes()
	s.suspendRoutes()
	s.domainRoutes()
	s.dnsRoutes()
	s.accountRoutes()
	s.declareRoutes()
	s.importRoutes()
	s.routeRoutes()
	s.usageRoutes()
	s.exportRoutes()
	s.queueRoutes()
	s.suppressRoutes()
	s.plainRoutes()
	return s, nil
}

// OpenAPI is the API's description as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().MarshalJSON() }

// ServeHTTP answers one request of the API port; tests and the console use it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	defer s.survive(w, r)
	s.mux.ServeHTTP(w, r)
}

// survive turns a panic into a logged fault and a plain answer: a fault of one
// request must not be silent, nor end a node that has mail to send.
func (s *Server) survive(w http.ResponseWriter, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { // the library's own way to cut a connection
		panic(fault)
	}
	id := logID()
	s.log.Error("request panicked", "id", id, "method", r.Method, "path", clip(r.URL.Path), "err", fmt.Sprint(fault), "stack", string(debug.Stack()))
	s.writeProblem(w, internalFault(id))
}

// Close gives back listeners that Run was never asked to serve.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.cfg.Listener, s.cfg.MetricsListener, s.cfg.PeerListener} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Run listens and serves until ctx ends, then lets running requests finish for
// five seconds.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(ctx, s.cfg.Addr, s.cfg.Listener)
	if err != nil {
		return err
	}
	if s.cfg.TLS != nil {
		l = tls.NewListener(l, s.cfg.TLS)
	}
	g, ctx := errgroup.WithContext(ctx)
	if s.cfg.MetricsAddr != "" || s.cfg.MetricsListener != nil {
		ml, err := listen(ctx, s.cfg.MetricsAddr, s.cfg.MetricsListener)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics())
		g.Go(func() error { return s.serve(ctx, ml, mux) })
	}
	if s.cfg.PeerListener != nil {
		g.Go(func() error { return s.serve(ctx, netutil.LimitListener(s.cfg.PeerListener, maxConns), s) })
	}
	g.Go(func() error { return s.serve(ctx, l, s) })
	err = g.Wait()
	s.peers.close()
	return err
}

func listen(ctx context.Context, addr string, given net.Listener) (net.Listener, error) {
	if given != nil {
		return netutil.LimitListener(given, maxConns), nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for admin: %w", err)
	}
	return netutil.LimitListener(l, maxConns), nil
}

// serve answers on l until ctx ends. Every phase of a request has a deadline,
// so that a slow or silent client cannot hold a connection.
func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve admin: %w", err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWait)
	defer cancel()
	if err := srv.Shutdown(bound); err != nil {
		_ = srv.Close() // what has not ended by now is cut
	}
	<-done
	return nil
}

// plainRoutes are those that probes and Prometheus ask, outside the API.
func (s *Server) plainRoutes() {
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	metrics := s.metrics()
	s.mux.HandleFunc("GET /metrics", s.operatorOnly(metrics))
	s.profileRoutes()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.writeProblem(w, problem(http.StatusNotFound, "see /openapi.json for what there is", "no such path or method"))
	})
}

// operatorOnly guards what is no part of the API but needs its token.
func (s *Server) operatorOnly(h http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if who, ok := s.identify(r.Header.Get("Authorization")); !ok || !who.operator {
			w.Header().Set("WWW-Authenticate", `Bearer realm="postern"`)
			s.writeProblem(w, noToken())
			return
		}
		h.ServeHTTP(w, r)
	}
}

// metrics serves the given Gatherer; OpenMetrics carries exemplars and units,
// protobuf (negotiated by Prometheus) the native histograms.
func (s *Server) metrics() http.Handler {
	if s.cfg.Gatherer == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s.writeProblem(w, problem(http.StatusNotFound, "", "no metrics here"))
		})
	}
	return promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}
