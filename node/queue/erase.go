package queue

import (
	"errors"
	"fmt"

	"postern/tenant"
)

// tenantTables are all tables whose keys start with the tenant.
var tenantTables = [...]byte{tabMessage, tabBody, tabDue, tabShare, tabDoubt, tabSpend, tabCount, tabOutcome, tabTalk,
	tabDay, tabHeld, tabSync, tabTransaction, tabDenied, tabSuppress}

// ErrNewer says that a log went on since it was judged.
var ErrNewer = errors.New("the log went on meanwhile")

// Erase forgets a tenant's log that nobody needed any more as of an epoch and
// generation: what was fenced, adopted or named a copy since is ErrNewer. It
// costs a range deletion a table, whatever lies in it. The fences stay: neither
// an epoch this store wrote nor one it refused comes back.
func (s *Store) Erase(t tenant.ID, epoch, generation uint64) error {
	if err := s.broken(); err != nil {
		return err
	}
	leave, err := s.beginCopying(t, nil)
	if err != nil {
		return err
	}
	defer leave()
	var files []chunkName
	b := s.db.NewBatch()
	defer b.Close()
	prefix := []byte{tabChunk}
	err = s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
		if id, ok := idOfKey(p); ok && id.Tenant == t && len(k) == 1+len(chunkName{}) {
			files = append(files, chunkName(k[1:]))
			_ = b.Delete(k, nil)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("erase log: %w", err)
	}
	for _, tab := range tenantTables {
		from := tenantPrefix(nil, tab, t)
		if err := b.DeleteRange(from, after(from), nil); err != nil {
			return fmt.Errorf("erase log: %w", err)
		}
	}
	written, err := s.fences(t)
	if err != nil {
		return fmt.Errorf("erase log: %w", err)
	}
	for _, e := range written { // nothing is left that only this store has
		if err := s.setReturned(b, t, e); err != nil {
			return fmt.Errorf("erase log: %w", err)
		}
	}
	err = s.hold.forget(t, epoch, generation, func() error { return s.commit(b) })
	if err != nil {
		return fmt.Errorf("erase log: %w", err)
	}
	for _, n := range files {
		s.removeChunk(n)
	}
	s.cfg.Log.Info("log erased", "tenant", t)
	return nil
}
