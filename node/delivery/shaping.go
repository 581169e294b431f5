package delivery

// Shaping is the table of limits per provider.
type Shaping struct{}
