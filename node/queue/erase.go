package queue

import (
	"fmt"

	"postern/tenant"
)

// tenantTables are all tables whose keys start with the tenant.
var tenantTables = [...]byte{tabMessage, tabBody, tabDue, tabShare, tabDoubt, tabSpend, tabCount, tabOutcome, tabTalk,
	tabDay, tabHeld, tabSync, tabReturned, tabTransaction}

// Erase forgets a tenant's log: nobody needs this copy any more. It costs a
// range deletion a table, whatever lies in it. The fences stay: neither an epoch
// this store wrote nor one it refused comes back.
func (s *Store) Erase(t tenant.ID) error {
	if err := s.broken(); err != nil {
		return err
	}
	leave, err := s.beginCopying(t)
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
	err = s.hold.forget(t, func() error { return s.commit(b) })
	if err != nil {
		return fmt.Errorf("erase log: %w", err)
	}
	for _, n := range files {
		s.removeChunk(n)
	}
	s.cfg.Log.Info("log erased", "tenant", t)
	return nil
}
