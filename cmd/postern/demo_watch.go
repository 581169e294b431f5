package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"postern/node/admin"
)

// The demo learns of a person's message from the node's mail log, and what
// became of it from the API, as an operator would.
var acceptedLine = []byte("message accepted")

const (
	watchEvery = 50 * time.Millisecond
	watchMost  = 16        // messages followed at once; of more the count is told
	logChunk   = 256 << 10 // octets of log read at a time
	logMost    = 64 << 20  // the demo's log is cut when it has grown that large
	watchFor   = 2 * time.Minute
)

// followed is one message of a person on its way.
type followed struct {
	id       string
	since    time.Time
	attempts map[string]int  // by destination, as told
	told     map[string]bool // recipients whose end was told
	waiting  bool            // told that nothing has happened yet
}

// newMailWatch looks at the nodes' logs from their ends on. It is made before
// the nodes start, so that no message is too early to be seen.
func (d *demo) newMailWatch() (*mailWatch, error) {
	w := &mailWatch{d: d}
	for _, m := range d.nodes {
		log, err := os.OpenFile(m.logFile, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("follow mail log: %w", err)
		}
		w.logs = append(w.logs, &logTail{log: log, buf: make([]byte, 0, logChunk)})
		if _, err := log.Seek(0, io.SeekEnd); err != nil {
			w.close()
			return nil, fmt.Errorf("follow mail log: %w", err)
		}
	}
	return w, nil
}

func (w *mailWatch) close() {
	for _, l := range w.logs {
		_ = l.log.Close()
	}
}

// run tells what becomes of people's messages.
func (w *mailWatch) run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	count := time.NewTicker(time.Second)
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-count.C:
			w.tellMore()
			w.d.countQueued(ctx)
		case <-tick.C:
			for _, l := range w.logs {
				if err := w.read(l); err != nil {
					return err
				}
			}
			for i := 0; i < len(w.mails); {
				if w.tell(ctx, w.mails[i]) {
					w.mails = append(w.mails[:i], w.mails[i+1:]...)
					continue
				}
				i++
			}
		}
	}
}

// logTail is one node's log.
type logTail struct {
	log *os.File
	buf []byte // an unfinished line
}

type mailWatch struct {
	d     *demo
	logs  []*logTail
	mails []*followed
	more  int // messages not followed for want of room
}

// read takes in what the log has grown by. A log that grows faster than a
// chunk a turn is skipped through: this is a screen, not an account.
func (w *mailWatch) read(l *logTail) error {
	st, err := l.log.Stat()
	if err != nil {
		return fmt.Errorf("follow mail log: %w", err)
	}
	at, err := l.log.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("follow mail log: %w", err)
	}
	if behind := st.Size() - at; behind > 4*logChunk {
		l.buf = l.buf[:0]
		if _, err := l.log.Seek(-logChunk, io.SeekEnd); err != nil {
			return fmt.Errorf("follow mail log: %w", err)
		}
	}
	n, err := l.log.Read(l.buf[len(l.buf):cap(l.buf)])
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("follow mail log: %w", err)
	}
	l.buf = l.buf[:len(l.buf)+n]
	end := bytes.LastIndexByte(l.buf, '\n') + 1
	for line := range bytes.Lines(l.buf[:end]) {
		w.line(line)
	}
	rest := copy(l.buf, l.buf[end:])
	l.buf = l.buf[:rest]
	if rest == cap(l.buf) {
		l.buf = l.buf[:0] // a line without end
	}
	if n == 0 && st.Size() > logMost {
		// The node appends, so its next line starts the file anew.
		if err := l.log.Truncate(0); err != nil {
			return fmt.Errorf("cut log: %w", err)
		}
		_, err = l.log.Seek(0, io.SeekStart)
		return err
	}
	return nil
}

var (
	logAccount = regexp.MustCompile(`\baccount"?[=:]"?([^" ,]+)`)
	logMessage = regexp.MustCompile(`\bid"?[=:]"?([0-9]+-[0-9]+-[0-9]+)\b`)
)

// line looks for a person's message; the background's accounts are no news.
func (w *mailWatch) line(line []byte) {
	if !bytes.Contains(line, acceptedLine) {
		return
	}
	if a := logAccount.FindSubmatch(line); a == nil || bytes.HasPrefix(a[1], []byte("daily@")) {
		return
	}
	id := logMessage.FindSubmatch(line)
	if id == nil {
		return
	}
	if slices.ContainsFunc(w.mails, func(f *followed) bool { return f.id == string(id[1]) }) {
		return // the node that took it and its owner both tell
	}
	if len(w.mails) >= watchMost {
		w.more++
		return
	}
	w.mails = append(w.mails, &followed{id: string(id[1]), since: time.Now(), attempts: map[string]int{}, told: map[string]bool{}})
}

func (w *mailWatch) tellMore() {
	if w.more > 0 {
		w.d.screen.say("... and %d more messages accepted", w.more)
		w.more = 0
	}
}

// tell says what is new of one message, and reports whether that was the last.
func (w *mailWatch) tell(ctx context.Context, f *followed) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t, err := ask(w.d, func(c *admin.Client) (admin.Trace, error) { return c.Trace(ctx, f.id) })
	if err != nil {
		return absent(err) || time.Since(f.since) > watchFor
	}
	say := w.d.screen.say
	for _, o := range t.Outcomes {
		if f.told[o.Rcpt] || o.Result == "deferred" {
			continue
		}
		f.told[o.Rcpt] = true
		say("%s: %s", o.Rcpt, endOf(t, o))
	}
	for _, it := range t.Items {
		if it.Attempts > f.attempts[it.Domain] && it.Last != nil {
			f.attempts[it.Domain] = it.Attempts
			say("%s: not yet: %s; next try in %s", strings.Join(it.Rcpts, ", "), replyLine(*it.Last), until(it.Due))
		}
	}
	if !f.waiting && len(f.told) == 0 && len(f.attempts) == 0 && time.Since(f.since) > 900*time.Millisecond {
		f.waiting = true
		say("message %s: accepted; no answer from its destination yet", f.id)
	}
	if t.Ended {
		return true
	}
	if time.Since(f.since) > watchFor {
		say("message %s: still queued; postern trace %s tells more", f.id, f.id)
		return true
	}
	return false
}

// endOf is the line for one recipient's end.
func endOf(t admin.Trace, o admin.Outcome) string {
	if o.Result != "delivered" {
		return fmt.Sprintf("%s: %s", o.Result, replyLine(o.Reply))
	}
	var by admin.Attempt
	for _, a := range t.Attempts {
		for _, x := range a.Outcomes {
			if x.Rcpt == o.Rcpt && x.Result == o.Result {
				by = a
			}
		}
	}
	end := by.At.Add(time.Duration(by.Millis * float64(time.Millisecond)))
	s := fmt.Sprintf("delivered from %s, EHLO %s, %s", by.Source, by.EHLO, took(end.Sub(t.Arrived)))
	if by.TLS != "" {
		s += ", TLS"
	}
	if by.N > 1 {
		s += fmt.Sprintf(", try %d", by.N)
	}
	return s
}

func replyLine(r admin.Reply) string {
	s := ""
	if r.Code != 0 {
		s = fmt.Sprintf("%d ", r.Code)
	}
	if r.Enhanced != "" && !strings.HasPrefix(r.Text, r.Enhanced) {
		s += r.Enhanced + " "
	}
	return s + r.Text
}

func took(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", max(d, time.Millisecond).Milliseconds())
	}
	return d.Round(time.Second).String()
}

func until(t time.Time) string {
	return max(time.Until(t), 0).Round(time.Second).String()
}

// countMost bounds how many messages of an account are looked at for a count.
const countMost = 100

// countQueued counts people's mail that waits, for the footer.
func (d *demo) countQueued(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	total := int64(0)
	for _, t := range d.dir.state.Tenants {
		d.mu.Lock()
		all := d.inQueue[t.Name]
		d.mu.Unlock()
		if all == 0 {
			continue
		}
		page, err := ask(d, func(c *admin.Client) (admin.Page[admin.Message], error) {
			return c.Queue(ctx, admin.Match{Account: t.Username}, admin.List{Limit: countMost})
		})
		if err != nil {
			return
		}
		n := int64(0)
		for _, m := range page.Items {
			for _, it := range m.Items {
				n += int64(len(it.Rcpts))
			}
		}
		if page.Next != "" {
			n = max(n, int64(all)) // too many to look at: the background's few count along
		}
		total += n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued = total
}
