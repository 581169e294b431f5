package dnsbl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postern/tenant"
)

// ReadSubjects reads addresses and domains, one a line; what follows a # is a
// comment. An error names the line.
func ReadSubjects(r io.Reader) ([]Subject, error) {
	var all []Subject
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), 4096)
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		s, err := ParseSubject(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if all = append(all, s); len(all) > MaxSubjects {
			return nil, fmt.Errorf("line %d: more than %d addresses", n, MaxSubjects)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(all) == 0 {
		return nil, errors.New("no address in it")
	}
	return all, nil
}

// Report is what several nodes see, and what it comes to.
type Report struct {
	At       time.Time  `json:"at"`
	Nodes    []NodeView `json:"nodes"`
	Faulty   []string   `json:"faulty"` // zones that began to list most subjects at once
	Subjects []Judged   `json:"subjects"`
}

// NodeView is one node's sight of the zones.
type NodeView struct {
	Node string `json:"node"`
	Sight
	Health []Health `json:"zones"`
}

// Judged is one subject with its verdict and what that rests on.
type Judged struct {
	Subject string                `json:"subject"`
	Space   tenant.Space          `json:"space"`
	Verdict tenant.ListingVerdict `json:"verdict"`
	Zones   []Asked               `json:"zones"`
}

// Asked is one zone's answers about a subject, a node each.
type Asked struct {
	Zone    string         `json:"zone"`
	Delist  string         `json:"delist,omitempty"` // where to ask for removal; only where it is listed
	Answers []AnswerOf     `json:"answers"`
	listed  *tenant.Answer // one of the answers that list it
}

// Listed is an answer that lists the subject; nil when none does.
func (a *Asked) Listed() *tenant.Answer { return a.listed }

// AnswerOf is one node's latest answer.
type AnswerOf struct {
	Node string `json:"node"`
	tenant.Answer
}

// Clean says that nothing is listed and that every heavy zone could be asked.
// Listings that are only logged do not count.
func (r *Report) Clean() bool {
	for _, s := range r.Subjects {
		v := s.Verdict
		if v.Level != tenant.LevelClear && (v.Level != tenant.LevelInfo || v.Usable < v.Heavy) {
			return false
		}
	}
	return true
}

// Judge draws the conclusion from what observers know of the subjects. They must
// share one book and one rule; each stands for a node.
func Judge(at time.Time, observers []*Observer, subjects []Subject) Report {
	r := Report{At: at, Faulty: []string{}, Subjects: []Judged{}}
	if len(observers) == 0 {
		return r
	}
	for _, o := range observers {
		r.Nodes = append(r.Nodes, NodeView{Node: o.cfg.Node, Sight: o.Sight(), Health: o.Health()})
	}
	rule := observers[0].cfg.Rule
	sightings := make([][]tenant.Sighting, len(subjects))
	for i, s := range subjects {
		for _, o := range observers {
			sightings[i] = append(sightings[i], o.Sightings(s)...)
		}
	}
	// Addresses and domains are in different zones, each a world of its own.
	var worlds [2][][]tenant.Sighting
	for i, s := range subjects {
		w := 0
		if s.Space() == tenant.SpaceDomain {
			w = 1
		}
		worlds[w] = append(worlds[w], sightings[i])
	}
	for _, w := range worlds {
		r.Faulty = append(r.Faulty, rule.Worldwide(w, len(observers))...)
	}
	book := observers[0].cfg.Book
	for i, s := range subjects {
		r.Subjects = append(r.Subjects, Judged{Subject: s.String(), Space: s.Space(),
			Verdict: rule.Judge(tenant.ListingCase{Zones: book.For(s.Space()), Groups: book.Groups, Nodes: len(observers),
				Sightings: sightings[i], Faulty: r.Faulty, Now: at}),
			Zones: asked(book, observers, s)})
	}
	return r
}

func asked(book *Book, observers []*Observer, s Subject) (all []Asked) {
	for i := range book.Zones {
		z := &book.Zones[i]
		if !z.Asks(s.Space()) {
			continue
		}
		one := Asked{Zone: z.Name}
		for _, o := range observers {
			a := o.Latest(s, z.Name)
			one.Answers = append(one.Answers, AnswerOf{Node: o.cfg.Node, Answer: a})
			if a.Kind == tenant.AnswerListed && one.listed == nil {
				one.listed, one.Delist = &a, strings.ReplaceAll(z.Delist, "{}", s.String())
			}
		}
		all = append(all, one)
	}
	return all
}
