// Package report writes what people read about what happened: what to answer to
// whoever reported a listing, and what to do next. It makes texts of the state's
// values and decides nothing. What leaves the house names no tenant but the one
// it is for.
package report
