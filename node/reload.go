package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"postern/node/admin"
)

// liveKeys are those that a running node takes up; what else changes waits for a
// restart. Of a list or a section the key is that of the whole.
var liveKeys = []string{
	"tls.cert", "tls.key", "resolvers", "dnsbl.resolvers", "delivery.retry",
	"intake.domains", "intake.traps", "queue.free_floor", "log.level",
}

// reloading changes the running node by its configuration file.
type reloading struct {
	file string
	mu   sync.Mutex // guards cfg; one at a time reloads
	cfg  Config     // what the node runs by
}

var _ admin.Running = itself{}

var errNoFile = errors.New("the node was started without a configuration file")

// Reload reads the configuration file again and takes up what can change while
// the node runs; no connection is touched. A file with a fault changes nothing.
// The answer names the keys that changed, and those that wait for a restart.
func (n *Node) Reload() (admin.Reloaded, error) {
	done, err := n.reload()
	if err != nil {
		n.log.Error("configuration not reloaded, nothing changed", "err", err)
		return done, fmt.Errorf("reload configuration: %w", err)
	}
	n.log.Warn("configuration reloaded", "changed", done.Changed, "restart", done.Restart)
	return done, nil
}

func (n *Node) reload() (admin.Reloaded, error) {
	r := &n.reloading
	r.mu.Lock()
	defer r.mu.Unlock()
	done := admin.Reloaded{Node: n.cfg.Name, Changed: []string{}, Restart: []string{}}
	if r.file == "" {
		return done, errNoFile
	}
	next, err := ReadConfig(r.file)
	if err != nil {
		return done, err
	}
	for _, key := range changedKeys(&r.cfg, &next) {
		// A certificate where there was none, or none any more, changes what ports offer.
		isTLS := key == "tls.cert" || key == "tls.key"
		if slices.Contains(liveKeys, key) && !(isTLS && (r.cfg.TLS.Cert == "" || next.TLS.Cert == "")) {
			done.Changed = append(done.Changed, key)
		} else {
			done.Restart = append(done.Restart, key)
		}
	}
	apply, err := n.prepareReload(&next, done.Changed)
	if err != nil {
		return done, err
	}
	for _, do := range apply {
		do()
	}
	for _, key := range done.Changed {
		configField(&r.cfg, key).Set(configField(&next, key))
	}
	return done, nil
}

// prepareReload makes what is to be done for the keys that changed, and does
// nothing yet: so that what fails leaves all as it was.
func (n *Node) prepareReload(next *Config, changed []string) ([]func(), error) {
	var apply []func()
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(changed, k) })
	}
	if has("tls.cert", "tls.key") {
		pair, err := newCerts(next.TLS.Cert, next.TLS.Key, "", n.log)
		if err != nil {
			return nil, err
		}
		for _, c := range n.certs {
			apply = append(apply, func() { c.use(pair) })
		}
	}
	if has("resolvers", "dnsbl.resolvers") {
		do, err := n.newResolvers(next)
		if err != nil {
			return nil, err
		}
		apply = append(apply, do)
	}
	if has("delivery.retry") {
		apply = append(apply, func() { n.sender.SetRetry(next.Delivery.Retry) })
	}
	if has("intake.domains", "intake.traps") && n.intake != nil {
		apply = append(apply, func() { n.intake.SetAddresses(next.Intake.Domains, next.Intake.Traps) })
	}
	if has("queue.free_floor") {
		apply = append(apply, func() { n.queue.SetFreeFloor(next.Queue.FreeFloor) })
	}
	if has("log.level") {
		var level slog.Level
		if err := level.UnmarshalText([]byte(next.Log.Level)); err != nil {
			return nil, fmt.Errorf("read log level: %w", err)
		}
		apply = append(apply, func() { n.level.setUsual(level) })
	}
	return apply, nil
}

func (n *Node) newResolvers(next *Config) (func(), error) {
	all, err := next.resolvers()
	if err != nil {
		return nil, err
	}
	var lists []netip.AddrPort
	if lists, err = next.listResolvers(); err != nil {
		return nil, err
	}
	if len(all) == 0 || len(lists) == 0 {
		return nil, errNoResolver
	}
	return func() {
		n.sender.SetResolvers(all)
		n.lookup.SetServers(all)
		_ = n.watcher.resolver.SetServers(lists) // fails only without any
	}, nil
}

// changedKeys are the keys whose values differ: "tls.cert", in the file's order.
func changedKeys(a, b *Config) []string {
	var keys []string
	walkConfig(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "", func(key string, x, y reflect.Value) {
		// A list that is left out and an empty one say the same.
		if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
			return
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			keys = append(keys, key)
		}
	})
	return keys
}

// configField is what a key stands for; the key is one of those walkConfig gives.
func configField(c *Config, key string) (field reflect.Value) {
	v := reflect.ValueOf(c).Elem()
	walkConfig(v, v, "", func(k string, x, _ reflect.Value) {
		if k == key {
			field = x
		}
	})
	return field
}

func walkConfig(a, b reflect.Value, prefix string, see func(key string, a, b reflect.Value)) {
	for i := range a.NumField() {
		key := prefix + a.Type().Field(i).Tag.Get("yaml")
		if a.Field(i).Kind() == reflect.Struct {
			walkConfig(a.Field(i), b.Field(i), key+".", see)
		} else {
			see(key, a.Field(i), b.Field(i))
		}
	}
}

// itself shows the node as a process to admin.
type itself struct{ *Node }

func (r itself) LogLevel() admin.LogLevel { return r.level.show() }

func (r itself) SetLogLevel(level string, length time.Duration) admin.LogLevel {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) == nil { // admin let only known words through
		r.level.set(l, length)
	}
	return r.level.show()
}

func (r itself) EndLogLevel() admin.LogLevel {
	r.level.end()
	return r.level.show()
}
