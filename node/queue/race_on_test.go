//go:build race

package queue

// raceOn: pebble checks its invariants in such builds and is far slower.
const raceOn = true
