package queue

import (
	"math"

	"postern/tenant"
)

// Spending is what the tenant's log here says was spent and was not yet
// forgotten, in every epoch, whoever owns the tenant.
func (s *Store) Spending(t tenant.ID) ([]tenant.Spent, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	return s.spentBelow(t, math.MaxUint64)
}
