package tenant

import (
	"bufio"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ranges are the quantities of a world and how they are drawn; see
// testdata/culprit.
type ranges map[string]bounds

type bounds struct {
	log      bool
	low, top float64
}

func readRanges(t testing.TB, path string) ranges {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := ranges{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		if len(w) != 4 || w[1] != "even" && w[1] != "log" {
			t.Fatalf("%s: %q", path, sc.Text())
		}
		b := bounds{log: w[1] == "log"}
		var bad [2]error
		b.low, bad[0] = strconv.ParseFloat(w[2], 64)
		b.top, bad[1] = strconv.ParseFloat(w[3], 64)
		if bad != [2]error{} || b.top < b.low || b.log && b.low <= 0 {
			t.Fatalf("%s: %q", path, sc.Text())
		}
		all[w[0]] = b
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// dice draws from ranges. Each use has dice of its own, so that what one part of
// a world does never changes what another draws.
type dice struct {
	ranges
	*rand.Rand
}

func (r ranges) dice(seed uint64, use ...uint64) dice {
	h := uint64(14695981039346656037)
	for _, u := range use {
		h = (h ^ u) * 1099511628211
	}
	return dice{r, rand.New(rand.NewPCG(seed, h))}
}

func (d dice) draw(key string) float64 {
	b, ok := d.ranges[key]
	if !ok {
		panic("no range " + key)
	}
	x := d.Float64()
	if b.log {
		return b.low * math.Pow(b.top/b.low, x)
	}
	return b.low + x*(b.top-b.low)
}

func (d dice) chance(p float64) bool { return d.Float64() < p }

// about is a value with noise of that sigma in its logarithm, and that mean.
func (d dice) about(v, sigma float64) float64 {
	return v * math.Exp(sigma*d.NormFloat64()-sigma*sigma/2)
}

// after is a delay of that median.
func (d dice) after(median float64) time.Duration {
	return time.Duration(median * math.Exp(d.NormFloat64()) * float64(time.Hour))
}

// some is how often something happened that happens so often on average.
func (d dice) some(mean float64) int {
	if mean > 30 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*d.NormFloat64())))
	}
	n, p, end := 0, 1.0, math.Exp(-mean)
	for {
		if p *= d.Float64(); p < end {
			return n
		}
		n++
	}
}
