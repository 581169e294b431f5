package submission

import (
	"io"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// remote is a message that another node owns. MAIL and RCPT are sent when an
// answer is needed, a pipelined group at once; the answers come in their order.
type remote struct {
	srv     *Server
	w       *wire
	tenant  *tenant.Tenant
	account *tenant.Account
	opening *opening
	since   time.Time

	ahead []byte // recipients' frames not sent yet
	owner tenant.NodeID
	epoch uint64
	link  *link // from the owner's yes to MAIL on
	lost  bool  // nothing can come of it any more
	good  int   // recipients
}

func newRemote(s *Server, w *wire, t *tenant.Tenant, a *tenant.Account, o *opening, now time.Time) *remote {
	return &remote{srv: s, w: w, tenant: t, account: a, opening: o, since: now}
}

// recipient sends RCPT with the next group.
func (r *remote) recipient(rc queue.Rcpt) error {
	if len(r.ahead) >= linkOut {
		r.w.settle()
		if r.w.sess.tx == nil {
			return errMailFirst
		}
	}
	if r.lost {
		return errNotHere
	}
	r.ahead = appendFrame(r.ahead, kindRcpt, appendRcpt(nil, rc))
	r.w.sess.promised = true
	return nil
}

func (r *remote) accepted() (int, error) {
	if r.lost {
		return r.good, errNotHere
	}
	if t := r.srv.cfg.State().Tenant(r.tenant.ID); t == nil || t.Owner != r.owner {
		r.fail()
		return r.good, errNotHere
	}
	return r.good, nil
}

// answerTo is the owner's word to the next command, nil for yes.
func (r *remote) answerTo(v verb) error {
	if v == verbMail {
		return r.begin()
	}
	if r.lost {
		return errNotHere
	}
	if len(r.ahead) > 0 {
		r.send()
	}
	a, err := r.srv.await(r.link, r.srv.waits.word, nil)
	switch {
	case err != nil || a.outcome != saysYes && a.outcome != saysNo:
		r.fail()
		return errNotHere
	case a.outcome == saysNo:
		return a.reply
	}
	r.good++
	return nil
}

// send writes the recipients that wait.
func (r *remote) send() {
	r.link.out = append(r.link.out, r.ahead...)
	r.ahead = r.ahead[:0]
	r.link.flush()
}

// begin finds the owner and asks it. Until it has answered nothing is lost when
// it goes: the next owner is asked the same.
func (r *remote) begin() error {
	until := time.Now().Add(r.srv.waits.owner)
	for {
		again, err := r.try(until)
		if !again {
			if err != nil {
				r.fail()
			}
			return err
		}
		if !r.srv.pause(until) {
			r.fail()
			return errNotHere
		}
	}
}

// try asks the present owner once; again means that there may be a better time.
func (r *remote) try(until time.Time) (again bool, err error) {
	node := r.find()
	if node == "" {
		return true, nil
	}
	k, err := r.srv.links.get(r.srv.hard, node)
	if err != nil {
		r.srv.log.peerFailed(node, err)
		return true, nil
	}
	k.tag++
	r.opening.id = newTransactionID(time.Now())
	k.say(kindBegin, appendBegin(nil, k.tag, r.opening))
	k.out = append(k.out, r.ahead...)
	k.flush()
	a, err := r.srv.await(k, time.Until(until), r.moved)
	if err != nil {
		k.close()
		return true, nil
	}
	r.srv.log.peerAnswers(node)
	switch a.outcome {
	case saysYes:
		r.link, r.ahead = k, r.ahead[:0]
		return false, nil
	case saysNo:
		r.srv.links.put(k)
		return false, a.reply
	}
	r.srv.links.put(k)
	return true, nil
}

// find notes who owns the tenant now, and under which epoch.
func (r *remote) find() (node string) {
	st := r.srv.cfg.State()
	t := st.Tenant(r.tenant.ID)
	if t == nil {
		return ""
	}
	r.owner, r.epoch = t.Owner, t.Epoch
	if n := st.Node(t.Owner); n != nil {
		return n.Name
	}
	return ""
}

// moved says whether the tenant has another owner than the one that was asked.
func (r *remote) moved() bool {
	t := r.srv.cfg.State().Tenant(r.tenant.ID)
	return t == nil || t.Owner != r.owner
}

// checkEvery bounds how many octets of a message are on their way: a refusal is
// heard before the client has sent much more.
const checkEvery = 256 << 10

// take streams the message to the owner.
func (r *remote) take(b *body) (string, error) {
	r.w.push, b.check = r.link.flush, r.check
	defer func() { r.w.push, b.check = nil, nil }()
	for ahead := 0; ; {
		p, err := b.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err // drop tells the owner
		}
		bad := r.link.piece(p)
		if a, ok := r.link.ready(); ok {
			return "", refusalOf(a)
		}
		if bad != nil {
			r.fail()
			return "", errNotHere
		}
		if ahead += len(p); ahead >= checkEvery {
			ahead = 0
			if err := r.check(); err != nil {
				return "", err
			}
		}
	}
	k, ended := r.link, b.ended
	k.say(kindEnd, nil)
	k.flush()
	a, err := r.srv.await(k, r.srv.waits.final, r.gone)
	if err != nil {
		r.fail()
	} else {
		r.release()
	}
	if err != nil || a.outcome == saysElsewhere {
		a, err = r.srv.lostAnswer(r.tenant, r.opening.id, nil)
	}
	if err != nil {
		return "", err
	}
	if a.outcome != saysKept {
		return "", refusalOf(a)
	}
	r.srv.gaps.passed(r.account, r.since)
	r.srv.metrics.passed.WithLabelValues(r.tenant.Name).Inc()
	r.srv.log.passed(r.tenant, r.account, a.id, k.node, time.Since(ended))
	return a.id, nil
}

// gone says whether the owner that has the message is the owner no more: not
// under another epoch either, because then it has begun anew.
func (r *remote) gone() bool {
	t := r.srv.cfg.State().Tenant(r.tenant.ID)
	return t == nil || t.Owner != r.owner || t.Epoch != r.epoch
}

// check asks whether the message is still wanted: now and then, and between two
// chunks, so that a chunk is refused by the reply to it.
func (r *remote) check() error {
	r.link.say(kindCheck, nil)
	r.link.flush()
	a, err := r.srv.await(r.link, r.srv.waits.word, r.gone)
	if err != nil {
		r.fail()
		return errNotHere
	}
	if a.outcome == saysYes {
		return nil
	}
	return refusalOf(a)
}

func refusalOf(a answer) error {
	if a.outcome == saysNo {
		return a.reply
	}
	return errNotHere
}

// fail ends the connection: whatever the owner has of the message it forgets.
func (r *remote) fail() {
	r.lost = true
	if r.link != nil {
		r.link.close()
		r.link = nil
	}
}

// release makes the connection free.
func (r *remote) release() {
	r.srv.links.put(r.link)
	r.link, r.lost = nil, true
}

// drop tells the owner that nothing more comes.
func (r *remote) drop() {
	if r.link == nil {
		return
	}
	r.link.say(kindReset, nil)
	r.link.flush()
	r.release()
}
